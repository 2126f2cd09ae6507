"""The dependency graph that DepGraph users know: built from one run of a model, asked for groups, pruned in place."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from torch import nn

from deploy_prune.errors import InputError, PlanError
from deploy_prune.graph.calling import Inputs
from deploy_prune.graph.grouping import Axis
from deploy_prune.graph.trace import Trace, trace
from deploy_prune.graph.units import FrozenGroup, Units, find_units
from deploy_prune.pruner.arguments import as_indices, as_list, axes_given, refuse_strangers
from deploy_prune.pruner.branches import Branch, find_branches
from deploy_prune.pruner.group import Group
from deploy_prune.pruner.node import Dependency, Node, is_out_axis, modules_named, parameters_named
from deploy_prune.pruner.plan import Plan
from deploy_prune.pruner.progress import Masks, Progress
from deploy_prune.pruner.pruning_func import BasePruningFunc
from deploy_prune.pruner.registry import LayerFunctions

History = list[tuple[str, bool, list[int]]]
"""Layer (or branch), whether its output channels went (else its input channels; a branch has none), and which."""

__all__ = ["Dependency", "DependencyGraph", "Group", "History", "Node", "is_out_axis"]


class DependencyGraph(LayerFunctions):
    """Which parameter slices of a model live and die together.

    Example::

        graph = DependencyGraph().build_dependency(model, example_inputs=torch.randn(1, 3, 224, 224))
        group = graph.get_pruning_group(model.conv1, prune_conv_out_channels, idxs=[2, 6, 9])
        group.prune()
    """

    model: nn.Module
    trace: Trace
    units: Units
    progress: Progress

    def build_dependency(
        self,
        model: nn.Module,
        example_inputs: Inputs,
        forward_fn: Callable[[nn.Module, Inputs], Any] | None = None,
        output_transform: Callable[[Any], Any] | None = None,
        unwrapped_parameters: Mapping[nn.Parameter, int] | Sequence[tuple[nn.Parameter, int]] | None = None,
        customized_pruners: Mapping[Any, BasePruningFunc] | None = None,
        ignored_layers: Iterable[Any] | None = None,
        ignored_params: Iterable[nn.Parameter] | None = None,
        verbose: bool = True,
    ) -> DependencyGraph:
        """Trace and analyse a model; see :func:`deploy_prune.graph.trace.trace`.

        Args:
            model: the model; tracing leaves it as it is.
            example_inputs: a tensor, a tuple of positional or a dict of keyword arguments.
            forward_fn: ``forward_fn(model, inputs)`` in place of a plain call.
            output_transform: picks from the output what must keep its shape; by default all of it.
            unwrapped_parameters: axes of bare parameters for :meth:`get_pruning_group`; needed for nothing else.
            customized_pruners: see :meth:`register_customized_layer`.
            ignored_layers: layers (or types of layers) whose output channels stay.
            ignored_params: parameters that stay whole.
            verbose: accepted; what could not be analysed is in ``frozen`` and ``units.unknown``, not on the screen.
        """
        self.model = model
        self._run = (example_inputs, forward_fn)
        self._branches: tuple[Branch, ...] | None = None
        for kind, pruner in (customized_pruners or {}).items():
            self.register_customized_layer(kind, pruner)
        keeping = list(filter(self._registry.keeps_channels, model.modules()))
        self.trace = trace(model, example_inputs, forward_fn=forward_fn, output_transform=output_transform,
                           keeping_channels=keeping)  # fmt: skip
        self.units = find_units(self.trace, [n for n, _ in model.named_parameters()])
        self.progress = Progress(model, self.units, self.trace.attributes)
        self._modules = dict(model.named_modules())
        self._names = {m: n for n, m in self._modules.items()}
        self._history: History = []
        parameters = {id(p): n for n, p in model.named_parameters()}
        self._given_axes = axes_given(unwrapped_parameters, parameters)
        ignored = as_list(ignored_layers, "ignored_layers")
        refuse_strangers(self._names, ignored, "ignored_layers")
        self._ignored_layers = modules_named(self._names, ignored)
        whole = [*as_list(ignored_params, "ignored_params"), *ignored]
        self._ignored_params = {parameters[id(p)] for p in whole if id(p) in parameters}
        self._known: dict[tuple[Axis, Axis], Dependency] = {}
        self._places = {axis: self._place(axis) for axis in self.units.axes}
        self._sides: dict[tuple[nn.Module, bool], Axis] = {}
        for axis, (node, _, out) in self._places.items():
            self._sides.setdefault((node.module, out), axis)
        return self

    @property
    def frozen(self) -> tuple[FrozenGroup, ...]:
        """What may not be removed, with reasons."""
        return self.units.frozen

    def _place(self, axis: Axis) -> tuple[Node, str, bool]:
        """The owner of a parameter, the parameter's own name, and whether the axis counts the owner's outputs."""
        owner, _, name = axis[0].rpartition(".")
        module = self._modules[owner]
        return Node(module, owner), name, is_out_axis(module, name, axis[1])

    def dependency(self, axis: Axis, root: Axis | None = None) -> Dependency:
        """The dependency that stands for one parameter axis in a group of this root (by default, of itself)."""
        known = self._known.get((axis, root or axis))
        if known is None:
            target, name, out = self._places[axis]
            source = self.dependency(root) if root not in (None, axis) else None
            handler = self._registry.function(target.module, out)
            origin, trigger = (source.target, source.handler) if source else (target, handler)
            known = Dependency(origin, trigger, target, handler, name, axis[1], out)
            self._known[axis, root or axis] = known
        return known

    def group(self, name: str) -> Group:
        """The whole group of this name.

        Raises:
            PlanError: there is none.
        """
        return Group(self, {name: self.progress.whole(name)})

    def get_all_groups(
        self,
        ignored_layers: Iterable[Any] = (),
        root_module_types: Iterable[type] | None = None,
        kinds: Collection[str] = ("channels",),
    ) -> Iterator[Group]:
        """All groups, whole, except those that hold output channels of an ignored layer (or of a module inside it).

        Args:
            ignored_layers: layers, or types of layers.
            root_module_types: only groups with an output of such a layer, which becomes the root; default: all.
            kinds: some of ``channels``, ``heads`` and ``groups`` (of convolutions).
        """
        listed = as_list(ignored_layers, "ignored_layers")
        refuse_strangers(self._names, listed, "ignored_layers")
        ignored = modules_named(self._names, listed) | self._ignored_layers
        whole = self._ignored_params | parameters_named(self.model, listed)
        wanted = None if root_module_types is None else tuple(as_list(root_module_types, "root_module_types"))
        for unit_group in self.units.groups:
            if unit_group.kind not in kinds or {s.parameter for s in unit_group.slices} & whole:
                continue
            if not self.progress.group(unit_group.name).width:  # it went with its branch
                continue
            asked = ignored or wanted is not None
            sides = [self.dependency((s.parameter, s.axis)) for s in unit_group.slices] if asked else []
            if any(d.out and d.target.module in ignored for d in sides):
                continue
            if wanted is None:
                yield self.group(unit_group.name)
                continue
            roots = [k for k, d in enumerate(sides) if d.out and isinstance(d.target.module, wanted)]
            if roots:
                root = unit_group.slices[roots[0]]
                yield Group(self, self.group(unit_group.name).masks, (root.parameter, root.axis))

    def get_pruning_group(self, module: Any, pruning_fn: Any = None, idxs: Iterable[int] | int = ()) -> Group:
        """The group that removes channels ``idxs`` of a layer.

        Args:
            module: the layer, or a bare parameter.
            pruning_fn: any function of this direction, such as ``prune_conv_in_channels``; default: output channels.
            idxs: channels of the layer, counted now.

        Raises:
            InputError: the module is not in the model, the function is none of ours, or channels are not free.
        """
        out = pruning_fn is None or self.is_out_channel_pruning_fn(pruning_fn)
        if not out and not self.is_in_channel_pruning_fn(pruning_fn):
            raise InputError(f"{pruning_fn!r} is no pruning function; give one such as prune_conv_out_channels")
        return self.group_at(self._axis_of(module, out), idxs)

    def _axis_of(self, module: Any, out: bool) -> Axis:
        """The parameter axis that counts a layer's channels."""
        if isinstance(module, nn.Parameter):
            name = next((n for n, p in self.model.named_parameters() if p is module), None)
            if name is not None:
                last = max((a for a, size in enumerate(module.shape) if size > 1), default=0)
                return name, self._given_axes.get(name, last)
        elif isinstance(module, nn.MultiheadAttention) and out:
            module = module.out_proj
        if not hasattr(self, "_sides"):
            raise InputError("the graph is not built yet; call build_dependency(model, example_inputs) first")
        found = self._sides.get((module, out)) or self._sides.get((module, not out))
        if found is None:
            where = "has no channels that a run reached" if module in self._names else "is not in the model"
            raise InputError(f"{self._names.get(module) or type(module).__name__} {where}; give a layer of the model")
        return found

    def group_at(self, axis: Axis, idxs: Iterable[int] | int) -> Group:
        """The group of these indices of a parameter axis.

        Raises:
            InputError: one of them is not free.
        """
        dependency = self.dependency(axis)
        size = dependency.tensor.shape[axis[1]]
        channels = self._registry.channels(dependency.layer, dependency.out)
        wanted = set(as_indices(idxs))
        if channels is not None and channels > size:  # one axis serves all groups of a convolution
            wanted = {i % size for i in wanted}
        masks = self.progress.at(axis, sorted(wanted))
        if not masks or not wanted <= self.progress.covered(axis, masks):
            why = [f.explanation for f in self.frozen if any((s.parameter, s.axis) == axis for s in f.slices)]
            side = "output" if dependency.out else "input"
            asked = f"no group of {dependency.target.name} holds the {side} channels {sorted(wanted)[:8]}"
            raise InputError(asked + (f": it {why[0]}" if why else f"; it has channels 0 to {size - 1}"))
        return Group(self, masks, axis)

    @property
    def plan(self) -> Plan:
        """The plan of all removals so far: from the model as it was analysed to the model as it is now."""
        return self.progress.plan or self.make_plan({})

    def check_pruning_group(self, group: Group) -> bool:
        """Whether removing the group's units leaves at least one of each kind."""
        return all(mask.sum() < mask.size for mask in self.progress.gone_with(group.masks))

    def find_branches(self) -> tuple[Branch, ...]:
        """Modules of the model as it is now that may become their shortcuts, the outer ones first."""
        if self._branches is None:
            example_inputs, forward_fn = self._run
            self._branches = find_branches(self.model, self.units, example_inputs, forward_fn=forward_fn)
        return self._branches

    def make_plan(self, removed: Mapping[str, Any], branches: Collection[str] = ()) -> Plan:
        """The plan that removes units ``removed[group]`` and whole branches from the model as it is now.

        Args:
            removed: indices of units, one vector for all rows of a group alike or an array (rows, k).
            branches: names of :meth:`find_branches`.

        Raises:
            PlanError: a branch that is none; else see :func:`deploy_prune.pruner.plan.make_plan`.
        """
        return self.progress.step(self._masks(removed), self._checked(branches))[0]

    def prune(self, removed: Mapping[str, Any], branches: Collection[str] = ()) -> Plan:
        """Remove what :meth:`make_plan` would from the model in place; returns the plan of this step."""
        return self.remove(self._masks(removed), branches=self._checked(branches))

    def _checked(self, branches: Collection[str]) -> Collection[str]:
        found = [b.name for b in self.find_branches()] if branches else []
        for name in branches:
            if name not in found:
                shown = f"its branches are {', '.join(found[:8])}" if found else "it has none"
                raise PlanError(f"{name!r} is no branch of the model that may go; {shown}")
        return branches

    def _masks(self, removed: Mapping[str, Any]) -> dict[str, np.ndarray]:
        return {name: self.progress.mask(name, units) for name, units in removed.items()}

    def remove(
        self, asked: Masks, root: Axis | None = None, record_history: bool = True, branches: Collection[str] = ()
    ) -> Plan:
        """Remove masked units and branches from the model in place; ``root`` is the axis that the history names."""
        step, dense = self.progress.step(asked, branches)
        self._branches = None
        self._known.clear()  # a layer may have become its shortcut, or depthwise
        self._registry.apply(self.model, step)
        if record_history:
            parts = [asked] if root else [{name: mask} for name, mask in asked.items()]
            self._history += [self._entry(part, root) for part in parts]
            self._history += [(branch, False, []) for branch in branches]
        self.progress.advance(self.model, asked, dense)
        return step

    def _entry(self, masks: Masks, root: Axis | None) -> tuple[str, bool, list[int]]:
        """A history entry: a layer where its axis says which units went, else ``parameter[axis]``."""
        axes = [(s.parameter, s.axis) for name in masks for s in self.units.group(name).slices]
        for axis in [root] if root else axes:
            dependency = self.dependency(axis)
            if self._sides[dependency.layer, dependency.out] == axis:
                return dependency.target.name, dependency.out, self.progress.dense_indices(axis, masks)
        axis = root or axes[0]
        return f"{axis[0]}[{axis[1]}]", True, self.progress.dense_indices(axis, masks)

    def pruning_history(self) -> History:
        """What has been removed since the graph was built, for :meth:`load_pruning_history`."""
        return list(self._history)

    def load_pruning_history(self, pruning_history: Iterable[Sequence[Any]]) -> None:
        """Repeat a history on a model like the one that it tells of, in one step."""
        asked: dict[str, np.ndarray] = {}
        history = list(pruning_history)
        branches = [name for name, out, idxs in history if not out and not idxs]
        for name, out, idxs in (entry for entry in history if entry[2]):
            parameter, bracket, axis = name.partition("[")
            where = (parameter, int(axis[:-1])) if bracket else self._axis_of(self._modules[name], out)
            for group, mask in self.progress.at_dense(where, idxs).items():
                asked[group] = asked[group] | mask if group in asked else mask
        self.remove(asked, record_history=False, branches=self._checked(branches))
        self._history += [(name, bool(out), list(idxs)) for name, out, idxs in history]
