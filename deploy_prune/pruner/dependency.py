"""The view of the dependency structure that DepGraph users know: a graph, groups, and (dependency, indices) pairs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from deploy_prune.errors import InputError
from deploy_prune.graph.trace import Inputs, Trace, trace
from deploy_prune.graph.units import FrozenGroup, Slices, UnitGroup, Units, find_units
from deploy_prune.pruner.plan import Plan, make_plan
from deploy_prune.pruner.surgery import apply_plan


@dataclass(frozen=True)
class Node:
    """A module and its dotted name in the model."""

    module: nn.Module
    name: str


@dataclass(frozen=True, eq=False)
class Dependency:
    """One axis of one parameter that loses indices with a group.

    Attributes:
        target: the module that owns the parameter.
        parameter: the parameter's own name, such as ``weight``.
        axis: the axis of it.
        out: whether the axis holds the module's output channels (else its input channels).
    """

    target: Node
    parameter: str
    axis: int
    out: bool

    @property
    def tensor(self) -> torch.Tensor:
        """The parameter or buffer itself."""
        tensor: torch.Tensor = getattr(self.target.module, self.parameter)
        return tensor


class Group:
    """Units that may be removed one by one; iterating gives ``(dependency, indices)`` pairs.

    There is one pair per module and direction, its weight's before its bias'; :meth:`slices` has every parameter.
    ``indices`` are Python integers into the dependency's axis, unit after unit; an axis that a unit meets several times
    (both halves of a ``chunk``) has as many indices per unit.
    """

    def __init__(
        self, graph: DependencyGraph, group: UnitGroup, units: Sequence[int] | np.ndarray | None = None
    ) -> None:
        self._graph = graph
        self._group = group
        self.units = np.arange(group.width) if units is None else np.asarray(units, dtype=np.int64)
        self._slices = [(graph.dependency(s), s) for s in group.slices]
        by_layer = {(d.target.module, d.out): (d, s) for d, s in reversed(self._slices)}
        self._layers = list(reversed(by_layer.values()))

    @property
    def name(self) -> str:
        """The layer whose channels these are."""
        return self._group.name

    @property
    def width(self) -> int:
        """Number of units in the model now."""
        return self._group.width

    def __len__(self) -> int:
        return len(self._layers)

    def __iter__(self) -> Iterator[tuple[Dependency, list[int]]]:
        for dependency, slices in self._layers:
            yield dependency, slices.indices[self.units].ravel().tolist()

    def __getitem__(self, k: int) -> tuple[Dependency, list[int]]:
        return list(self)[k]

    def slices(self) -> Iterator[tuple[Dependency, torch.Tensor]]:
        """Pairs of dependency and index tensor of shape (units, m)."""
        for dependency, slices in self._slices:
            yield dependency, torch.from_numpy(np.ascontiguousarray(slices.indices[self.units]))

    def prune(self, idxs: Sequence[int] | None = None) -> Plan:
        """Remove these units (default: all that the group was asked for) from the model, in place."""
        return self._graph.prune({self.name: self.units if idxs is None else idxs})

    def details(self) -> str:
        """One line per dependency: module, parameter, axis, direction and number of indices."""
        lines = [f"group {self.name}: {self.width} units"]
        for dependency, idxs in self:
            side = "out" if dependency.out else "in"
            kind = type(dependency.target.module).__name__
            lines.append(
                f"  {dependency.target.name} ({kind}).{dependency.parameter}[{dependency.axis}] {side}, {len(idxs)}"
            )
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.details()


class DependencyGraph:
    """Which parameter slices of a model live and die together.

    Example::

        graph = DependencyGraph().build_dependency(model, example_inputs=torch.randn(1, 3, 224, 224))
        group = graph.get_pruning_group(model.conv1, idxs=[2, 6, 9])
        group.prune()
    """

    model: nn.Module
    trace: Trace
    units: Units

    def build_dependency(
        self,
        model: nn.Module,
        example_inputs: Inputs,
        *,
        forward_fn: Callable[[nn.Module, Inputs], Any] | None = None,
        output_transform: Callable[[Any], Any] | None = None,
    ) -> DependencyGraph:
        """Trace and analyse a model; see :func:`deploy_prune.graph.trace.trace`."""
        self.model = model
        self._again = (example_inputs, forward_fn, output_transform)
        self.trace = trace(model, example_inputs, forward_fn=forward_fn, output_transform=output_transform)
        self.units = find_units(self.trace, [n for n, _ in model.named_parameters()])
        self._modules = dict(model.named_modules())
        return self

    @property
    def frozen(self) -> tuple[FrozenGroup, ...]:
        """What may not be removed, with reasons."""
        return self.units.frozen

    def dependency(self, slices: Slices) -> Dependency:
        """The dependency that stands for one parameter axis."""
        owner, _, name = slices.parameter.rpartition(".")
        module = self._modules[owner]
        return Dependency(Node(module, owner), name, slices.axis, is_out_axis(module, name, slices.axis))

    def get_all_groups(
        self, ignored_layers: Iterable[nn.Module] = (), root_module_types: tuple[type, ...] | None = None
    ) -> Iterator[Group]:
        """All groups, except those that hold output channels of an ignored layer (or of a module inside it)."""
        ignored = {m for layer in ignored_layers for m in layer.modules()}
        for unit_group in self.units.groups:
            group = Group(self, unit_group)
            owners = [d.target.module for d, _ in group.slices() if d.out]
            if ignored.intersection(owners):
                continue
            if root_module_types is None or isinstance(group[0][0].target.module, tuple(root_module_types)):
                yield group

    def get_pruning_group(self, module: nn.Module, pruning_fn: Any = None, idxs: Sequence[int] = ()) -> Group:
        """The group of a layer's output channels, asked to lose the units at these channel indices.

        ``pruning_fn`` is accepted for Torch-Pruning's sake; input channels are reached through the layer that makes
        them.

        Raises:
            InputError: the layer has no free output channels, or the indices lie in two groups.
        """
        wanted = set(idxs)
        for group in self.get_all_groups():
            for dependency, indices in group.slices():
                if dependency.target.module is module and dependency.out and dependency.tensor.ndim > 1:
                    hit = np.isin(indices.numpy(), list(wanted)).any(axis=1)
                    covered = set(indices.numpy()[hit].ravel().tolist()) | {i for i in wanted if i in indices}
                    if wanted <= covered:
                        return Group(self, group._group, np.flatnonzero(hit))
        name = next((n for n, m in self._modules.items() if m is module), type(module).__name__)
        why = [f.reason for f in self.frozen if f.name == name]
        raise InputError(
            f"no group of {name} holds the output channels {sorted(wanted)[:8]}"
            + (f": it {why[0]}" if why else "; see get_all_groups() for what can be removed")
        )

    def check_pruning_group(self, group: Group) -> bool:
        """Whether removing the group's units leaves at least one."""
        return len(group.units) < group.width

    def make_plan(self, removed: dict[str, Any]) -> Plan:
        """The plan that removes these units; see :func:`deploy_prune.pruner.plan.make_plan`."""
        return make_plan(self.model, self.units, removed, self.trace.attributes)

    def prune(self, removed: dict[str, Any]) -> Plan:
        """Remove units ``removed[group]`` from the model in place and analyse it anew; returns the plan."""
        plan = self.make_plan(removed)
        apply_plan(self.model, plan, inplace=True)
        inputs, forward_fn, output_transform = self._again
        self.build_dependency(self.model, inputs, forward_fn=forward_fn, output_transform=output_transform)
        return plan


def is_out_axis(module: nn.Module, parameter: str, axis: int) -> bool:
    """Whether an axis of a module's parameter counts its outputs: axis 0, or axis 1 of a transposed convolution."""
    if parameter != "weight":
        return axis == 0
    return axis == (1 if getattr(module, "transposed", False) else 0)
