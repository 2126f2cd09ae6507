"""Pruners: choose units by a criterion and ratios, and remove them in steps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from deploy_prune.errors import InputError
from deploy_prune.graph.calling import Inputs
from deploy_prune.importance import MagnitudeImportance
from deploy_prune.pruner.arguments import as_list, refuse_strangers
from deploy_prune.pruner.dependency import DependencyGraph, Group, History
from deploy_prune.pruner.quota import Candidate, fewest, share_out
from deploy_prune.pruner.ranking import Criterion, Ranking, rank, unit_scores
from deploy_prune.pruner.scopes import Scope, find_scopes, ratios_by_module
from deploy_prune.pruner.settings import settings_from


class BasePruner:
    """Remove the least important units of every group until the wanted share is gone.

    ``step()`` changes the model in place. What reaches the model's output keeps its shape without being told to.

    Args:
        model: the model to prune.
        example_inputs: a tensor, a tuple of positional or a dict of keyword arguments.
        importance: the criterion, one score per unit; default: group L2 magnitude.
        settings: the attributes of :class:`~deploy_prune.pruner.settings.Settings`, by keyword.

    Raises:
        InputError: an unknown argument, a ratio outside [0, 1), or a module that is not in the model.
    """

    def __init__(
        self, model: nn.Module, example_inputs: Inputs, importance: Criterion | None = None, **settings: Any
    ) -> None:
        self.model = model
        self.importance = importance or MagnitudeImportance()
        self.settings = settings_from(settings)
        self.current_step = 0
        self.iterative_steps = self.settings.iterative_steps
        self._ratios = ratios_by_module(model, self.settings.ratios)
        self._head_ratios = ratios_by_module(model, self.settings.head_ratios)
        ignored = as_list(self.settings.ignored_layers, "ignored_layers")
        refuse_strangers(model.modules(), ignored, "ignored_layers")
        self.DG = DependencyGraph().build_dependency(
            model,
            example_inputs,
            forward_fn=self.settings.forward_fn,
            output_transform=self.settings.output_transform,
            unwrapped_parameters=self.settings.unwrapped_parameters,
            customized_pruners=self.settings.customized_pruners,
            ignored_params=[layer for layer in ignored if isinstance(layer, nn.Parameter)],
        )
        self.ignored_layers = [layer for layer in ignored if not isinstance(layer, nn.Parameter)]
        self.dense_width = {g.name: g.width for g in self.DG.units.groups}
        self._inside_heads = _groups_inside_heads(self.DG)

    def groups(self, kind: str = "channels") -> Iterator[Group]:
        """Groups of a kind that may be pruned, as they are now."""
        for group in self.DG.get_all_groups(self.ignored_layers, self.settings.root_module_types, kinds=(kind,)):
            if self.settings.prune_head_dims or group.name not in self._inside_heads:
                yield group

    def step(self, interactive: bool = False) -> list[Group] | None:
        """Go one step towards the ratio; with ``interactive`` return the groups to prune, each with ``.prune()``.

        Interactive groups are to be pruned one after the other, each at most once.
        """
        if self.current_step >= self.iterative_steps:
            return [] if interactive else None
        self.current_step += 1
        chosen = [group for scope in self._scopes() for group in self._choose(scope)]
        if interactive:
            return chosen
        if chosen:
            self.DG.remove({name: mask for group in chosen for name, mask in group.masks.items()})
        return None

    def _scopes(self) -> list[Scope]:
        scopes = find_scopes(self.groups(), self.settings, self._ratios, self.settings.default_ratio)
        if self.settings.prune_num_heads:
            default = self.settings.head_pruning_ratio
            scopes += find_scopes(self.groups("heads"), self.settings, self._head_ratios, default)
        return scopes

    def _choose(self, scope: Scope) -> list[Group]:
        """The groups of a scope, each with the units that it shall lose in this step."""
        ratio = self.settings.at_step(scope.ratio, self.current_step)
        ranked: dict[str, tuple[Group, Ranking]] = {}
        candidates = []
        for group in scope.groups if ratio > 0 else ():
            ranking = rank(group, self.importance)
            if ranking is not None:
                ranked[group.name] = group, ranking
                dense = self.dense_width[group.name]
                floor = fewest(dense, self.settings.max_pruning_ratio)
                round_to = 1 if group.kind == "heads" else self.settings.round_to or 1
                candidates.append(Candidate(group.name, dense, ranking.scores, floor, round_to))
        given = share_out(candidates, ratio)
        return [ranked[name][0].choose(ranked[name][1].least(count)) for name, count in given.items()]

    def estimate_importance(self, group: Group) -> torch.Tensor | None:
        """The criterion's scores of a whole group, shape (units,); None where it has nothing to say."""
        return unit_scores(group, self.importance)

    def manual_prune_width(
        self, layer: nn.Module, pruning_fn: Any, pruning_ratios_or_idxs: float | Iterable[int]
    ) -> None:
        """Prune one layer and what depends on it, out of turn.

        Args:
            layer: the layer.
            pruning_fn: a function of the direction, such as ``prune_conv_out_channels``.
            pruning_ratios_or_idxs: the share of its channels to remove, least important first, or their indices.

        Raises:
            InputError: a ratio outside [0, 1), or the channels are not free, or of several groups (give indices then).
        """
        if isinstance(pruning_ratios_or_idxs, float) and not 0 <= pruning_ratios_or_idxs < 1:
            raise InputError(f"the ratio is {pruning_ratios_or_idxs}; give the share to remove, at least 0 and below 1")
        if not isinstance(pruning_ratios_or_idxs, float):
            self.DG.get_pruning_group(layer, pruning_fn, pruning_ratios_or_idxs).prune()
            return
        out = self.DG.is_out_channel_pruning_fn(pruning_fn)
        size = self.DG.get_out_channels(layer) if out else self.DG.get_in_channels(layer)
        group = self.DG.get_pruning_group(layer, pruning_fn, range(size or 0))
        ranking = rank(group, self.importance)
        if ranking is not None:
            group.choose(ranking.least(int(group.width * pruning_ratios_or_idxs))).prune()

    @property
    def num_heads(self) -> dict[nn.Module, int]:
        """Heads of the layers that the argument ``num_heads`` named, as many as they have now."""
        return {layer: self._heads_now(layer, count) for layer, count in self.settings.num_heads.items()}

    def _heads_now(self, layer: nn.Module, dense: int) -> int:
        for group in self.DG.get_all_groups(kinds=("heads",)):
            if any(dep.layer is layer and dep.out for dep, _ in group):
                return dense * group.width // self.dense_width[group.name]
        return dense

    def get_target_pruning_ratio(self, module: nn.Module, step: int = -1) -> float:
        """The share of a layer's channels that is gone after ``step`` steps (default: the current one)."""
        named = self._ratios.get(module)
        ratio = self.settings.default_ratio if named is None else named.ratio
        return self.settings.at_step(ratio, self.current_step if step < 0 else step)

    def get_target_head_pruning_ratio(self, module: nn.Module) -> float:
        """The share of a layer's heads that is gone after the current step."""
        named = self._head_ratios.get(module)
        ratio = self.settings.head_pruning_ratio if named is None else named.ratio
        return self.settings.at_step(ratio, self.current_step)

    def pruning_history(self) -> History:
        """What has been removed so far."""
        return self.DG.pruning_history()

    def load_pruning_history(self, pruning_history: Sequence[Any]) -> None:
        """Repeat a history on a model like the one that it tells of."""
        self.DG.load_pruning_history(pruning_history)

    def reset(self) -> None:
        """Count steps from the start again; ratios remain shares of the dense model."""
        self.current_step = 0

    def update_regularizer(self) -> None:
        """Prepare sparse training for the groups as they are now; pruners that regularise do something here."""

    def regularize(self, model: nn.Module, loss: Any = None) -> None:
        """Add to the gradients what makes units sparse; pruners that regularise do something here."""


MagnitudePruner = MetaPruner = BasePruner


def _groups_inside_heads(graph: DependencyGraph) -> set[str]:
    """Groups of channels that are inner dimensions of heads."""
    heads: dict[tuple[str, int], list[np.ndarray]] = {}
    for group in graph.units.groups:
        if group.kind == "heads":
            for s in group.slices:
                heads.setdefault((s.parameter, s.axis), []).append(s.indices)
    return {
        group.name
        for group in graph.units.groups
        if group.kind == "channels"
        and any(
            np.isin(s.indices, inside).any() for s in group.slices for inside in heads.get((s.parameter, s.axis), ())
        )
    }
