"""Residual branches that can go as a whole: the block becomes its shortcut.

A module that hands its input through once all its parameters are zero computes ``x + branch(x)``, whatever its code
looks like: residual blocks of ResNet, MobileNet and ConvNeXt, encoder blocks of transformers, bottlenecks of YOLO.
Depth is pruned by putting an ``nn.Identity`` in its place.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from deploy_prune.graph.calling import Inputs, call_model
from deploy_prune.graph.mode import enter_mode
from deploy_prune.graph.preserve import preserved
from deploy_prune.graph.units import Units


@dataclass(frozen=True)
class Branch:
    """A module whose branch may go, so that its input is its output.

    Attributes:
        name: the module.
        parameters: how many numbers go with it.
        groups: the groups that lie wholly inside, and go with it too.
    """

    name: str
    parameters: int
    groups: tuple[str, ...]


def find_branches(
    model: nn.Module,
    units: Units,
    example_inputs: Inputs,
    *,
    forward_fn: Callable[[nn.Module, Inputs], Any] | None = None,
) -> tuple[Branch, ...]:
    """All branches of a model, the outer ones before those inside them.

    A branch is a module with parameters of its own that every forward calls once, with one tensor, and that gives back
    this very tensor when its parameters are zero: in eval and in train mode, and on random inputs of the same shapes
    where the model takes such (an activation after the sum may let just the example inputs through).

    Args:
        model: any module; it is left exactly as it was.
        units: its dependency structure.
        example_inputs: see :data:`~deploy_prune.graph.trace.Inputs`.
        forward_fn: ``forward_fn(model, inputs)`` in place of a plain call.
    """
    candidates = _candidates(model)
    proved: set[str] = set()
    for inputs, training in ((example_inputs, False), (example_inputs, True), (_noise_like(example_inputs), False)):
        calls = _Calls()
        with preserved(model), torch.no_grad():
            enter_mode(model, training)
            for name, module in candidates.items():
                calls.listen(name, module)
            try:
                (forward_fn or call_model)(model, inputs)
            except Exception:
                if inputs is example_inputs and not training:
                    raise
                continue  # a model that cannot train, or that wants inputs of its own kind
        given = calls.inputs
        candidates = {n: m for n, m in candidates.items() if n in given and _hands_through(m, given[n], training)}
        proved |= {name for name in candidates if given[name].any()}
    return tuple(
        Branch(name, sum(p.numel() for p in module.parameters()), groups_within(units, name))
        for name, module in candidates.items()
        if name in proved
    )


def innermost(branches: Iterable[Branch]) -> tuple[Branch, ...]:
    """These branches without those that hold another of them."""
    found = tuple(branches)
    return tuple(b for b in found if not any(lies_within(o.name, (b.name,)) for o in found if o is not b))


def lies_within(name: str, branches: Iterable[str]) -> bool:
    """Whether a module, parameter or buffer of this name belongs to one of these modules."""
    return any(name == branch or name.startswith(f"{branch}.") for branch in branches)


def groups_within(units: Units, branch: str) -> tuple[str, ...]:
    """The groups whose every slice is of a parameter or buffer of this module."""
    return tuple(g.name for g in units.groups if all(lies_within(s.parameter, (branch,)) for s in g.slices))


def outermost(branches: Collection[str]) -> tuple[str, ...]:
    """These modules without those that lie in another of them."""
    return tuple(sorted(b for b in set(branches) if not lies_within(b.rpartition(".")[0], set(branches))))


def _candidates(model: nn.Module) -> dict[str, nn.Module]:
    """Modules whose parameters nothing outside them holds; layers of torch.nn, which have no shortcut, are left out."""
    holders: dict[int, set[int]] = {}
    for module in model.modules():
        for parameter in module.parameters(recurse=False):
            holders.setdefault(id(parameter), set()).add(id(module))
    found = {}
    for name, module in model.named_modules():
        single = type(module).__module__.startswith("torch.nn.") and next(module.children(), None) is None
        if module is model or single:
            continue
        own = {id(m) for m in module.modules()}
        parameters = [holders[id(p)] for p in module.parameters()]
        if parameters and all(those <= own for those in parameters):
            found[name] = module
    return found


@dataclass
class _Calls:
    """The input of every module that one run calls once, with one tensor, and that returns one of the same shape."""

    inputs: dict[str, torch.Tensor] = field(default_factory=dict)
    _refused: set[str] = field(default_factory=set)

    def listen(self, name: str, module: nn.Module) -> None:
        """Hear the calls of a module; the hooks go with the surrounding :func:`preserved`."""

        def enter(_: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
            given = args[0] if len(args) == 1 and not kwargs else None
            if name in self.inputs or not isinstance(given, torch.Tensor):
                self._refuse(name)
            elif name not in self._refused:
                self.inputs[name] = given.clone()

        def leave(_: nn.Module, args: Any, output: Any) -> None:
            given = self.inputs.get(name)
            if given is not None and not (isinstance(output, torch.Tensor) and output.shape == given.shape):
                self._refuse(name)

        module.register_forward_pre_hook(enter, with_kwargs=True)
        module.register_forward_hook(leave)

    def _refuse(self, name: str) -> None:
        self._refused.add(name)
        self.inputs.pop(name, None)


def _hands_through(module: nn.Module, given: torch.Tensor, training: bool) -> bool:
    """Whether a module returns its input when its parameters are zero."""
    with preserved(module), zeroed(module), torch.no_grad():
        enter_mode(module, training)
        try:
            return torch.equal(module(given.clone()), given)
        except Exception:
            return False  # it needs what the model does around it


@contextmanager
def zeroed(module: nn.Module) -> Iterator[None]:
    """The module with all parameters zero; afterwards they are in their old memory."""
    kept = [(parameter, parameter.data) for parameter in module.parameters()]
    try:
        for parameter, data in kept:
            parameter.data = torch.zeros_like(data)
        yield
    finally:
        for parameter, data in kept:
            parameter.data = data


def _noise_like(inputs: Inputs) -> Inputs:
    """Standard normal numbers in place of every floating tensor."""
    chance = torch.Generator().manual_seed(0)
    return pytree.tree_map_only(
        torch.Tensor,
        lambda t: torch.randn(t.shape, generator=chance).to(t) if t.is_floating_point() else t,
        inputs,
    )
