"""Pruners: choose units by a criterion and ratios, and remove them in steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import nn

from deploy_prune.errors import InputError
from deploy_prune.graph.trace import Inputs
from deploy_prune.importance import Importance, MagnitudeImportance
from deploy_prune.pruner.dependency import DependencyGraph, Group

Ratios = Mapping[Any, float]


class BasePruner:
    """Remove the least important units of every group until the wanted share is gone.

    ``step()`` changes the model in place. What reaches the model's output keeps its shape without being told to.

    Args:
        model: the model to prune.
        example_inputs: a tensor, a tuple of positional or a dict of keyword arguments.
        importance: the criterion; one score per unit.
        pruning_ratio: share of units to remove from each group, in [0, 1); or a dict ``{module: ratio}``, and what it
            does not name stays whole.
        pruning_ratio_dict: ratios of single modules (and what lies in them) where they differ from ``pruning_ratio``.
        iterative_steps: number of calls of ``step()`` after which the ratio is reached, exactly.
        iterative_pruning_ratio_scheduler: ``f(ratio, steps) -> list of steps + 1 ratios`` from 0 to the ratio.
        global_pruning: one threshold over all groups in place of the same share in each.
        max_pruning_ratio: no group loses more than this share.
        ignored_layers: layers whose output channels stay.
        round_to: kept widths are rounded up to a multiple of this.
        root_module_types: only groups whose first layer has one of these types.
        forward_fn: ``forward_fn(model, inputs)`` in place of a plain call.
        output_transform: picks from the output what must keep its shape.

    Raises:
        InputError: a ratio outside [0, 1), fewer than one step, or a module that is not in the model.
    """

    def __init__(
        self,
        model: nn.Module,
        example_inputs: Inputs,
        importance: Importance | Callable[[Group], Any] | None = None,
        *,
        pruning_ratio: float | Ratios = 0.5,
        pruning_ratio_dict: Ratios | None = None,
        iterative_steps: int = 1,
        iterative_pruning_ratio_scheduler: Callable[[float, int], list[float]] | None = None,
        global_pruning: bool = False,
        max_pruning_ratio: float = 1.0,
        ignored_layers: Iterable[nn.Module] | None = None,
        round_to: int | None = None,
        root_module_types: tuple[type, ...] | None = None,
        forward_fn: Callable[[nn.Module, Inputs], Any] | None = None,
        output_transform: Callable[[Any], Any] | None = None,
    ) -> None:
        self.model = model
        self.importance = importance or MagnitudeImportance()
        named = dict(pruning_ratio) if isinstance(pruning_ratio, Mapping) else dict(pruning_ratio_dict or {})
        self.default_ratio = 0.0 if isinstance(pruning_ratio, Mapping) else float(pruning_ratio)
        self.ratio_of = _ratios_by_module(model, named)
        for ratio in (self.default_ratio, *self.ratio_of.values()):
            if not 0 <= ratio < 1:
                raise InputError(f"pruning ratio is {ratio}; give the share to remove, at least 0 and below 1")
        if iterative_steps < 1:
            raise InputError(f"iterative_steps is {iterative_steps}; give at least 1")
        self.iterative_steps = iterative_steps
        self.schedule = iterative_pruning_ratio_scheduler or linear_scheduler
        self.current_step = 0
        self.global_pruning = global_pruning
        self.max_pruning_ratio = max_pruning_ratio
        self.ignored_layers = list(ignored_layers or [])
        self.round_to = round_to or 1
        self.root_module_types = root_module_types
        self.DG = DependencyGraph().build_dependency(
            model, example_inputs, forward_fn=forward_fn, output_transform=output_transform
        )
        self.dense_width = {g.name: g.width for g in self.DG.units.groups}

    def groups(self) -> Iterator[Group]:
        """Groups that may be pruned, as they are now."""
        yield from self.DG.get_all_groups(self.ignored_layers, self.root_module_types)

    def step(self, interactive: bool = False) -> list[Group] | None:
        """Go one step towards the ratio; with ``interactive`` return the groups to prune, each with ``.prune()``.

        Interactive groups are to be pruned one after the other, each at most once.
        """
        if self.current_step >= self.iterative_steps:
            return [] if interactive else None
        self.current_step += 1
        removed = self._removed_globally() if self.global_pruning else self._removed_locally()
        if interactive:
            return [Group(self.DG, self.DG.units.group(name), units.tolist()) for name, units in removed.items()]
        if removed:
            self.DG.prune({name: units.numpy() for name, units in removed.items()})
        return None

    def estimate_importance(self, group: Group) -> torch.Tensor | None:
        """The criterion's scores of a group, shape (units,); a single number stands for all units.

        Raises:
            InputError: the criterion returned another number of scores.
        """
        scores = self.importance(group)
        if scores is None:
            return None
        scores = torch.as_tensor(scores, dtype=torch.float32).detach().cpu()
        if scores.numel() == 1:
            return scores.reshape(1).expand(group.width)
        if scores.shape != (group.width,):
            raise InputError(
                f"{type(self.importance).__name__} returned shape {tuple(scores.shape)} for group {group.name} of "
                f"{group.width} units; return one score per unit"
            )
        return scores

    def ratio(self, group: Group) -> float:
        """The share of units that the current step wants gone from a group, of its dense width."""
        final = self.ratio_of.get(group[0][0].target.module, self.default_ratio)
        return self.schedule(final, self.iterative_steps)[self.current_step]

    def _kept(self, group: Group, wanted: float) -> int:
        """Width after removing ``wanted`` of the dense width: rounded up to ``round_to``, at least one unit stays."""
        dense = self.dense_width[group.name]
        kept = dense - int(dense * min(wanted, self.max_pruning_ratio))
        kept = math.ceil(kept / self.round_to) * self.round_to
        return min(max(kept, 1), group.width)

    def _removed_locally(self) -> dict[str, torch.Tensor]:
        removed = {}
        for group in self.groups():
            gone = group.width - self._kept(group, self.ratio(group))
            scores = self.estimate_importance(group) if gone else None
            if scores is not None:
                removed[group.name] = scores.argsort(stable=True)[:gone]
        return removed

    def _removed_globally(self) -> dict[str, torch.Tensor]:
        """All units ranked together; a group stops at ``max_pruning_ratio`` and at its last unit."""
        groups = [(g, s) for g in self.groups() if (s := self.estimate_importance(g)) is not None]
        if not groups:
            return {}
        total = sum(self.dense_width[g.name] for g, _ in groups)
        ratio = self.schedule(self.default_ratio, self.iterative_steps)[self.current_step]
        gone = int(total * ratio) - (total - sum(g.width for g, _ in groups))
        if gone <= 0:
            return {}
        threshold = torch.cat([s for _, s in groups]).sort().values[gone - 1]
        removed = {}
        for group, scores in groups:
            below = int((scores <= threshold).sum())
            kept = self._kept(group, 1 - (group.width - below) / self.dense_width[group.name])
            if kept < group.width:
                removed[group.name] = scores.argsort(stable=True)[: group.width - kept]
        return removed


class MagnitudePruner(BasePruner):
    """Remove units of small weights (default criterion: group L2 magnitude)."""


def linear_scheduler(ratio: float, steps: int) -> list[float]:
    """Equal shares of the dense width in every step: ``0, ratio/steps, …, ratio``."""
    return [ratio * k / steps for k in range(steps + 1)]


def _ratios_by_module(model: nn.Module, named: Ratios) -> dict[nn.Module, float]:
    """Ratios for each named module (or tuple of modules) and all modules inside; the innermost name wins."""
    known = {m: n for n, m in model.named_modules()}
    flat: list[tuple[nn.Module, float]] = []
    for key, ratio in named.items():
        for module in key if isinstance(key, (tuple, list)) else (key,):
            if module not in known:
                raise InputError(f"pruning_ratio names a {type(module).__name__} that is not a module of the model")
            flat.append((module, float(ratio)))
    flat.sort(key=lambda item: known[item[0]].count(".") if known[item[0]] else -1)
    return {inner: ratio for module, ratio in flat for inner in module.modules()}
