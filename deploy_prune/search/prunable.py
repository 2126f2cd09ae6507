"""A model as the search sees it: groups with scored units, and the network that any choice of widths stands for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import nn

from deploy_prune.errors import InputError
from deploy_prune.graph.calling import Inputs
from deploy_prune.graph.units import UnitGroup
from deploy_prune.importance import Importance, MagnitudeImportance
from deploy_prune.importance.calibration import Calibration
from deploy_prune.importance.gradients import gradients, needs_gradients
from deploy_prune.latency.widths import useful_widths
from deploy_prune.pruner.branches import innermost
from deploy_prune.pruner.dependency import DependencyGraph
from deploy_prune.pruner.node import modules_named
from deploy_prune.pruner.plan import Plan
from deploy_prune.pruner.ranking import Ranking, rank, zeros_first
from deploy_prune.pruner.surgery import apply_plan

MAX_CHOICES = 16
"""Widths per group on a menu: the programme has a variable for each pair of widths of two coupled groups."""


@dataclass(frozen=True, eq=False)
class Prunable:
    """A dense model, its groups and the order in which their units go.

    Attributes:
        model: the dense model; it is never changed.
        example_inputs: what it was analysed with.
        graph: its dependency graph.
        ranking: per free group the order in which its units go, each row's by itself.
        branches: modules that may go as a whole, and the free groups inside each: it goes when these have width 0.
        start: widths that the search begins with: of groups that have lost units for good. The others start whole.
    """

    model: nn.Module
    example_inputs: Inputs
    graph: DependencyGraph
    ranking: Mapping[str, Ranking]
    branches: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    start: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        model: nn.Module,
        example_inputs: Inputs,
        *,
        importance: Importance | None = None,
        calibration: Calibration | None = None,
        ignored_layers: Iterable[nn.Module] = (),
        output_transform: Callable[[Any], Any] | None = None,
        remove_branches: bool = False,
        start: Mapping[str, int] | None = None,
    ) -> Prunable:
        """Analyse a model and score the units of every group outside ``ignored_layers``.

        An ``importance`` that scores by gradients gets them on ``calibration`` data; without any the model has to hold
        them already.

        With ``remove_branches`` the smallest residual branches that hold free groups, and no ignored layer, may go.
        ``start`` gives the widths of a network that was pruned before and padded: zero units then go first.

        Raises:
            InputError: nothing can be removed.
        """
        graph = DependencyGraph().build_dependency(model, example_inputs, output_transform=output_transform)
        criterion = importance or MagnitudeImportance()
        ignored = list(ignored_layers)
        with ExitStack() as stack:
            if calibration is not None and needs_gradients(criterion):
                stack.enter_context(gradients(criterion, model, calibration))
            groups = graph.get_all_groups(ignored, kinds=("channels", "heads", "groups"))
            chosen = _one_axis_each(graph.units.groups)
            scorer = zeros_first(criterion) if start else criterion
            ranked = {group.name: rank(group, scorer) for group in groups if group.name in chosen}
        ranking = {name: found for name, found in ranked.items() if found is not None}
        if not ranking:
            reasons = "; ".join(f"{f.name} {f.reason}" for f in graph.frozen[:3])
            raise InputError(f"nothing of the model can be removed ({reasons}); give other layers or inputs")
        branches = _branches(graph, ranking, ignored) if remove_branches else {}
        return cls(model, example_inputs, graph, ranking, branches, dict(start or {}))

    @property
    def full_widths(self) -> dict[str, int]:
        """Units per free group in the dense model."""
        return {name: len(ranked.scores) for name, ranked in self.ranking.items()}

    @property
    def start_widths(self) -> dict[str, int]:
        """Units per free group that the search begins with."""
        return {**self.full_widths, **self.start}

    def menu_widths(self, step: int) -> dict[str, tuple[int, ...]]:
        """Widths per group at which some layer's channels are a multiple of ``step``, and the one it starts with.

        A unit that is several channels wide everywhere (both halves of a chunk and nothing else) needs fewer units, and
        so does one that is a row of channels: a head, a group of a convolution.
        Wide groups take every second, fourth … step, so that no group has more than :data:`MAX_CHOICES` widths.
        Groups in a branch have width 0 too.
        """
        menu = {}
        inside = {name for groups in self.branches.values() for name in groups}
        for name, full in self.full_widths.items():
            group = self.graph.group(name)
            channels = [int(indices.shape[1]) for _, indices in group.slices()]
            per_unit = min(channels) if group.kind == "channels" else max(channels)
            stride = max(step // per_unit, 1)
            while full > stride * MAX_CHOICES:
                stride *= 2
            first, widths = self.start_widths[name], useful_widths(full, stride)
            widths = (*(width for width in widths if width < first), first)
            menu[name] = (0, *widths) if name in inside and first else widths
        return menu

    def plan(self, widths: Mapping[str, int]) -> Plan:
        """The plan that keeps the ``widths[group]`` most important units; groups not named stay whole.

        Raises:
            PlanError: a width of 0 for some groups of a branch and not for all.
        """
        branches = [name for name, groups in self.branches.items() if all(widths.get(g) == 0 for g in groups)]
        removed = {
            name: self.ranking[name].least(len(self.ranking[name].scores) - width)
            for name, width in widths.items()
            if width < len(self.ranking[name].scores)
        }
        return self.graph.make_plan(removed, branches)

    def build(self, widths: Mapping[str, int]) -> nn.Module:
        """The pruned network of these widths, a new module."""
        return apply_plan(self.model, self.plan(widths))


_KERNEL_STEP = 8
"""Channels that kernels compute together at least (AVX2's eight numbers)."""


def _one_axis_each(groups: Sequence[UnitGroup]) -> set[str]:
    """Of heads, or a convolution's groups, and the channels inside, which offer more widths; every other group.

    Both at once would make sizes products of two widths. A convolution with 55 groups of 8 channels can lose groups,
    and one with 2 groups of 128 channels had better lose channels of each.
    """
    chosen = {group.name for group in groups if group.kind == "channels"}
    for rows in (group for group in groups if group.kind != "channels"):
        inside = {group.name for group in groups if group.kind == "channels" and _overlap(group, rows)}
        widths = max((group.width for group in groups if group.name in inside), default=0) // _KERNEL_STEP
        if rows.width > widths:
            chosen = (chosen - inside) | {rows.name}
    return chosen


def _overlap(group: UnitGroup, other: UnitGroup) -> bool:
    """Whether the two hold an index of a parameter axis in common."""
    held = {(s.parameter, s.axis): s.indices for s in other.slices}
    return any(
        np.isin(s.indices, held[s.parameter, s.axis]).any() for s in group.slices if (s.parameter, s.axis) in held
    )


def _branches(
    graph: DependencyGraph, ranking: Mapping[str, Any], ignored_layers: list[nn.Module]
) -> dict[str, tuple[str, ...]]:
    """The smallest branches that hold groups, all of them ranked, and no ignored layer; with these groups."""
    ignored = modules_named(graph.model.modules(), ignored_layers)
    chosen = _one_axis_each(graph.units.groups)
    found = {}
    for branch in innermost(graph.find_branches()):
        groups = tuple(g for g in branch.groups if g in chosen)
        layers = set(graph.model.get_submodule(branch.name).modules())
        if groups and ranking.keys() >= set(groups) and not layers & ignored:
            found[branch.name] = groups
    return found
