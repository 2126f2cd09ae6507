"""Everything that a model's forward may change about the model, taken down before a run and put back after it."""

from __future__ import annotations

import sys
from collections import Counter, OrderedDict, defaultdict, deque
from functools import cache
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy
from torch.utils import _pytree as pytree

from deploy_prune.errors import InputError

_ATOMS = frozenset({bool, int, float, complex, str, bytes, type(None)})
_MAPPINGS = frozenset({dict, OrderedDict, defaultdict, Counter})
_SEQUENCES = frozenset({list, set, deque})
_CONTAINERS = _MAPPINGS | _SEQUENCES

# Objects of torch, NumPy and Python itself keep their own state; these few only hold what users put there.
_PLAIN_LIBRARIES = frozenset({"types", "argparse"})
_OTHER_LIBRARIES = (frozenset(sys.stdlib_module_names) | {"torch", "numpy"}) - _PLAIN_LIBRARIES


@cache
def is_plain_kind(kind: type) -> bool:
    """Whether values of a type are objects of attributes, such as the ``config`` of Hugging Face models."""
    if issubclass(kind, (nn.Module, torch.Tensor, type)) or not kind.__dictoffset__:
        return False
    if any("__call__" in vars(base) for base in kind.__mro__):
        return False
    return kind.__module__.partition(".")[0] not in _OTHER_LIBRARIES


class Snapshot:
    """A model with everything reachable from it: attributes, containers in containers, objects, tensors.

    Buffers and other tensors are copied at once. Parameters and gradients, which few models write to in their forward,
    are copied before the first write: whoever hears the operators of a run tells :meth:`before` of those that write.
    """

    def __init__(self, model: nn.Module) -> None:
        """Take down ``model``.

        Raises:
            InputError: it has lazy layers that no run has given their sizes.
        """
        for name, module in model.named_modules():
            for key, tensor in (*module._parameters.items(), *module._buffers.items()):
                if tensor is not None and is_lazy(tensor):
                    lazy = f"{name}.{key}".lstrip(".")
                    raise InputError(f"{lazy} has no size yet; run the model once, so that its lazy layers get theirs")
        self._empty: list[Any] = []
        self._containers: list[tuple[Any, Any]] = []
        self._parameters: list[tuple[nn.Parameter, torch.Tensor, bool, torch.Tensor | None]] = []
        self._copies: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []
        self._unwritten: dict[int, torch.Tensor] = {}
        self._take(model)

    def _take(self, model: nn.Module) -> None:
        seen: set[int] = set()
        left: list[Any] = [model]
        while left:
            value = left.pop()
            kind: Any = type(value)
            if kind in _CONTAINERS and not value:  # as most are: every module has a dozen for hooks
                self._empty.append(value)
                continue
            if id(value) in seen:
                continue
            seen.add(id(value))
            if kind in _MAPPINGS:
                self._containers.append((value, dict(value)))
                left += [v for v in value.values() if type(v) not in _ATOMS]
            elif kind in _SEQUENCES:
                self._containers.append((value, list(value)))
                left += [v for v in value if type(v) not in _ATOMS]
            elif isinstance(value, tuple):
                left += [v for v in value if type(v) not in _ATOMS]
            elif isinstance(value, torch.Tensor):
                self._take_tensor(value)
            elif isinstance(value, nn.Module) or is_plain_kind(kind):
                left.append(value.__dict__)

    def _take_tensor(self, tensor: torch.Tensor) -> None:
        if not isinstance(tensor, nn.Parameter):
            self._copies.append((tensor, tensor.data, tensor.detach().clone()))
            return
        self._parameters.append((tensor, tensor.data, tensor.requires_grad, tensor.grad))
        for watched in (tensor, tensor.grad):
            if watched is not None:
                self._unwritten[memory_of(watched)] = watched

    def before(self, writing: Any) -> None:
        """Copy parameters among the arguments of an operator that is about to write to some of them."""
        for tensor in pytree.tree_leaves(writing) if self._unwritten else ():
            watched = self._unwritten.pop(memory_of(tensor), None) if isinstance(tensor, torch.Tensor) else None
            if watched is not None:
                self._copies.append((watched, watched.data, watched.detach().clone()))

    def restore(self) -> None:
        """Put everything back, as often as it takes: the same objects with their old content."""
        for container in self._empty:
            if container:
                container.clear()
        for container, content in self._containers:
            container.clear()
            (container.extend if isinstance(container, (list, deque)) else container.update)(content)
        for parameter, data, requires_grad, grad in self._parameters:
            parameter.data, parameter.grad = data, grad
            if parameter.requires_grad != requires_grad:
                parameter.requires_grad_(requires_grad)
        with torch.no_grad():
            for tensor, data, content in self._copies:
                tensor.data = data
                if not _is_identical(data, content):
                    data.copy_(content)


def memory_of(tensor: torch.Tensor) -> int:
    """A number that tensors over the same memory share; sparse tensors share none."""
    return tensor.untyped_storage()._cdata if tensor.layout is torch.strided else id(tensor)


def _is_identical(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Bit by bit, so that NaN equals NaN and every type compares; tensors without data are always alike."""
    if a.is_meta:
        return True
    if a.layout is not torch.strided:
        return False
    return torch.equal(*(t.contiguous().reshape(-1).view(torch.uint8) for t in (a, b)))
