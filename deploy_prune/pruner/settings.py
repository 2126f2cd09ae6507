"""The arguments of pruners, checked before anything runs."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from numbers import Integral, Real
from typing import Any

from torch import nn

from deploy_prune.errors import InputError
from deploy_prune.pruner.arguments import as_list
from deploy_prune.pruner.pruning_func import BasePruningFunc
from deploy_prune.pruner.scheduler import Scheduler, linear_scheduler

_DICTS = ("pruning_ratio_dict", "head_pruning_ratio_dict", "ch_sparsity_dict", "num_heads", "customized_pruners")

Ratios = Mapping[Any, float]
"""Module, or tuple of modules that compete as one scope -> ratio."""


@dataclass(frozen=True)
class Settings:
    """What a pruner shall do.

    Attributes:
        global_pruning: rank the units of all groups together, in place of the same share in each.
        pruning_ratio: share of units to remove, in [0, 1); or a dict like ``pruning_ratio_dict``, and what it does not
            name stays whole.
        pruning_ratio_dict: other ratios for single modules and what lies in them; with ``global_pruning`` the modules
            of one key are ranked together, apart from the rest. The innermost name wins.
        max_pruning_ratio: no group loses more than this share.
        iterative_steps: number of calls of ``step()`` after which the ratio is reached.
        iterative_pruning_ratio_scheduler: ``f(ratio, steps) -> steps + 1 ratios`` from 0 to the ratio.
        ignored_layers: layers whose output channels stay, types of layers, and parameters that stay whole.
        round_to: widths of pruned groups (not numbers of heads) are multiples of this, the nearest to the ratio.
        isomorphic: with ``global_pruning``, rank only groups of the same structure together (Fang et al., ECCV 2024).
        prune_num_heads: remove whole heads, ``head_pruning_ratio`` of them.
        prune_head_dims: remove inner dimensions of heads, as of any other group.
        head_pruning_ratio: share of heads to remove.
        head_pruning_ratio_dict: other ratios for the heads in single modules.
        num_heads: not needed; the numbers given here are kept up to date in ``pruner.num_heads``.
        customized_pruners: pruning functions of the user's layers; needed only to override.
        root_module_types: only groups with outputs of such a layer; default: all.
        forward_fn: ``forward_fn(model, inputs)`` in place of a plain call.
        output_transform: picks from the output what must keep its shape; default: all of it.
        unwrapped_parameters: not needed; axes of bare parameters are found.
        in_channel_groups: not needed; what must lose equal shares is found.
        out_channel_groups: not needed, as above.
        channel_groups: not needed, as above.
        ch_sparsity: the older name of ``pruning_ratio``.
        ch_sparsity_dict: the older name of ``pruning_ratio_dict``.
    """

    global_pruning: bool = False
    pruning_ratio: float | Ratios = 0.5
    pruning_ratio_dict: Ratios | None = None
    max_pruning_ratio: float = 1.0
    iterative_steps: int = 1
    iterative_pruning_ratio_scheduler: Scheduler = linear_scheduler
    ignored_layers: Iterable[Any] | None = None
    round_to: int | None = None
    isomorphic: bool = False
    in_channel_groups: Mapping[nn.Module, int] = field(default_factory=dict)
    out_channel_groups: Mapping[nn.Module, int] = field(default_factory=dict)
    num_heads: Mapping[nn.Module, int] = field(default_factory=dict)
    prune_num_heads: bool = False
    prune_head_dims: bool = True
    head_pruning_ratio: float = 0.0
    head_pruning_ratio_dict: Ratios | None = None
    customized_pruners: Mapping[Any, BasePruningFunc] | None = None
    unwrapped_parameters: Mapping[nn.Parameter, int] | Sequence[tuple[nn.Parameter, int]] | None = None
    root_module_types: Iterable[type] | None = None
    forward_fn: Callable[[nn.Module, Any], Any] | None = None
    output_transform: Callable[[Any], Any] | None = None
    channel_groups: Mapping[nn.Module, int] = field(default_factory=dict)
    ch_sparsity: float | Ratios | None = None
    ch_sparsity_dict: Ratios | None = None

    def __post_init__(self) -> None:
        for name in _DICTS:
            value = getattr(self, name)
            if value is not None and not isinstance(value, Mapping):
                raise InputError(f"{name} is a {type(value).__name__}; give a dict from layers to values")
        if not callable(self.iterative_pruning_ratio_scheduler):
            given = self.iterative_pruning_ratio_scheduler
            raise InputError(f"iterative_pruning_ratio_scheduler is {given!r}; give a function of a ratio and steps")
        if self.ch_sparsity is not None:
            object.__setattr__(self, "pruning_ratio", self.ch_sparsity)
        if self.ch_sparsity_dict is not None:
            object.__setattr__(self, "pruning_ratio_dict", self.ch_sparsity_dict)
        for ratio in (self.default_ratio, self.head_pruning_ratio, *self.ratios.values(), *self.head_ratios.values()):
            if not isinstance(ratio, Real) or not 0 <= ratio < 1:
                raise InputError(f"pruning ratio is {ratio!r}; give the share to remove, at least 0 and below 1")
        if not isinstance(self.max_pruning_ratio, Real) or not 0 <= self.max_pruning_ratio <= 1:
            raise InputError(f"max_pruning_ratio is {self.max_pruning_ratio!r}; give a share from 0 to 1")
        for name, count in (("iterative_steps", self.iterative_steps), ("round_to", self.round_to)):
            if count is not None and (not isinstance(count, Integral) or isinstance(count, bool) or count < 1):
                raise InputError(f"{name} is {count!r}; give a whole number, at least 1")
        kinds = as_list(self.root_module_types, "root_module_types")
        if not all(isinstance(kind, type) for kind in kinds):
            raise InputError(f"root_module_types is {kinds!r:.80}; give types of layers, such as [nn.Conv2d]")

    @property
    def default_ratio(self) -> float:
        """The ratio of groups that no dict names."""
        return 0.0 if isinstance(self.pruning_ratio, Mapping) else self.pruning_ratio

    @property
    def ratios(self) -> Ratios:
        """Ratios of named modules."""
        return self.pruning_ratio if isinstance(self.pruning_ratio, Mapping) else self.pruning_ratio_dict or {}

    @property
    def head_ratios(self) -> Ratios:
        """Ratios of the heads in named modules."""
        return self.head_pruning_ratio_dict or {}

    def at_step(self, ratio: float, step: int) -> float:
        """What a final ratio amounts to after ``step`` steps.

        Raises:
            InputError: the scheduler returned too few ratios.
        """
        steps = self.iterative_pruning_ratio_scheduler(ratio, self.iterative_steps)
        if len(steps) <= self.iterative_steps:
            raise InputError(
                f"the scheduler returned {len(steps)} ratios for {self.iterative_steps} steps; return one for the "
                "start and one for each"
            )
        return min(steps[step], self.max_pruning_ratio)


def settings_from(arguments: Mapping[str, Any]) -> Settings:
    """Settings from keyword arguments.

    Raises:
        InputError: an unknown name, or a value out of range.
    """
    known = [f.name for f in fields(Settings)]
    for name in arguments:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            raise InputError(f"unknown argument {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
    return Settings(**arguments)
