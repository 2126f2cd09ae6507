"""Say what can be removed from a model, how much each group weighs, and why the rest stays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
from torch import nn

from deploy_prune.count import Count, count
from deploy_prune.graph.attributes import Attribute
from deploy_prune.graph.facts import OUTPUT
from deploy_prune.graph.units import FrozenGroup, Slices, UnitGroup
from deploy_prune.pipeline.named_model import load_model
from deploy_prune.pruner.dependency import DependencyGraph, is_out_axis
from deploy_prune.report.inspection import FrozenEntry, GroupEntry, Inspection, LayerEntry, Member, OutputChannels


def inspect_model(source: str, *, image_size: int | None = None, task: str = "detect") -> Inspection:
    """Analyse the dependencies of the model that ``source`` names; see :func:`load_model` for the arguments.

    Raises:
        InputError, MissingDependencyError: there is no such model.
        ForwardError: it does not run on the example input.
    """
    named = load_model(source, image_size=image_size, task=task)
    graph = DependencyGraph().build_dependency(named.module, named.inputs, output_transform=named.kept_output)
    return _Inspector(graph, count(named.module, named.inputs)).inspect(source)


@dataclass(frozen=True)
class _Inspector:
    """A dependency structure and what its layers cost."""

    graph: DependencyGraph
    counted: Count

    def inspect(self, source: str) -> Inspection:
        """Everything about the model, under the name that the user gave."""
        counted, units = self.counted, self.graph.units
        return Inspection(
            model=source,
            macs=counted.macs,
            params=counted.params,
            macs_without_weights=counted.macs - sum(counted.weights.values()),
            channels=self._output_channels(),
            layers=self._layers(),
            groups=tuple(map(self._group, units.groups)),
            frozen=tuple(map(self._frozen, units.frozen)),
            unknown=dict(units.unknown),
            unreached=units.unreached,
        )

    def _layers(self) -> tuple[LayerEntry, ...]:
        """Owners of parameters: those that ran in the order in which they did, then the others."""
        parameters = dict(self.graph.model.named_parameters())
        names = [name for name, _ in self.graph.units.axes if name in parameters]
        owners = dict.fromkeys(name.rpartition(".")[0] for name in (*names, *parameters))
        modules = dict(self.graph.model.named_modules())
        entries = []
        for owner in owners:
            own = {name: p for name, p in parameters.items() if name.rpartition(".")[0] == owner}
            macs = sum(self.counted.weights.get(name, 0) for name in own)
            params = sum(p.numel() for p in own.values())
            entries.append(LayerEntry(owner, type(modules[owner]).__name__, macs, params))
        return tuple(entries)

    def _group(self, group: UnitGroup) -> GroupEntry:
        macs, params = self._touched(group.slices)
        # The attributes that follow are those of a plan that removes one unit.
        changes = self.graph.make_plan({group.name: [0]}).attributes
        return GroupEntry(
            name=group.name,
            kind=group.kind,
            width=group.width,
            rows=group.rows,
            macs=macs,
            params=params,
            macs_share=macs / max(self.counted.macs, 1),
            params_share=params / max(self.counted.params, 1),
            members=self._members(group.slices),
            attributes=tuple(str(Attribute(change.module, change.path)) for change in changes),
        )

    def _frozen(self, frozen: FrozenGroup) -> FrozenEntry:
        place, channels = frozen.place, len(np.unique(frozen.slices[0].indices))
        where = place.module, place.operator, place.source
        return FrozenEntry(frozen.name, channels, frozen.reason, *where, self._members(frozen.slices))

    def _touched(self, slices: Sequence[Slices]) -> tuple[int, int]:
        """MACs and elements of the parameters' parts that lie in these slices (on any of their axes)."""
        parameters = dict(self.graph.model.named_parameters())
        left: dict[str, dict[int, int]] = {}
        for s in slices:
            if s.parameter in parameters:
                size = parameters[s.parameter].shape[s.axis]
                left.setdefault(s.parameter, {})[s.axis] = size - len(np.unique(s.indices))
        macs = params = 0
        for name, kept in left.items():
            shape = parameters[name].shape
            touched = prod(shape) - prod(kept.get(axis, size) for axis, size in enumerate(shape))
            params += touched
            macs += self.counted.weights.get(name, 0) * touched // prod(shape)
        return macs, params

    def _members(self, slices: Sequence[Slices]) -> tuple[Member, ...]:
        by_layer: dict[str, list[_Side]] = {}
        for s in slices:
            layer, _, _ = s.parameter.rpartition(".")
            by_layer.setdefault(layer, []).append(self._side(s.parameter, s.axis))
        return tuple(
            Member(layer, tuple(s.name for s in sides), any(s.makes for s in sides), any(s.uses for s in sides))
            for layer, sides in by_layer.items()
        )

    def _output_channels(self) -> OutputChannels:
        """Counted index by index, since an axis may be free in part and lie in groups of both kinds."""
        units = self.graph.units
        total = sum(len(indices) for axis, indices in units.axes.items() if self._side(*axis).makes)
        at_output = [frozen for frozen in units.frozen if frozen.place.operator == OUTPUT]
        return OutputChannels(total, self._made(units.groups), self._made(at_output))

    def _made(self, groups: Sequence[UnitGroup] | Sequence[FrozenGroup]) -> int:
        """How many output channels of layers these groups hold."""
        held: dict[tuple[str, int], set[int]] = {}
        for s in (s for group in groups for s in group.slices):
            if self._side(s.parameter, s.axis).makes:
                held.setdefault((s.parameter, s.axis), set()).update(s.indices.ravel().tolist())
        return sum(map(len, held.values()))

    def _side(self, parameter: str, axis: int) -> _Side:
        owner, _, name = parameter.rpartition(".")
        module = self.graph.model.get_submodule(owner)
        tensor = getattr(module, name)
        if tensor.ndim < 2 or not isinstance(tensor, nn.Parameter):  # norms, biases and tables only follow
            return _Side(f"{name}[{axis}]", makes=False, uses=False)
        out = is_out_axis(module, name, axis)
        depthwise = getattr(module, "groups", 1) > 1 and tensor.shape[1] == 1
        return _Side(f"{name}[{axis}]", makes=out, uses=depthwise or not out)


@dataclass(frozen=True)
class _Side:
    """An axis of a parameter, such as ``weight[0]``: are its indices channels of the layer's output, of its input?"""

    name: str
    makes: bool
    uses: bool
