"""Numbers that depend on how wide a tensor is, made equal for a comparison of a pruned model with its masked original.

Dropout, the statistics of norms, and scales such as ``1 / sqrt(head_dim)`` change with the width by definition, not by
mistake. A run of the masked original *records* the widths that it computes with; the same run of the pruned model then
*replays* them. Layer and group norms are compared without statistics in both: one recorded number scales the whole
tensor instead, without which products of deep layers would overflow.
"""

from __future__ import annotations

import operator
import sys
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from deploy_prune.graph.preserve import heard_functionals


class DenseInt(int):
    """A size of the pruned model that counts as the dense model's size wherever it turns into a float."""

    dense: int

    def __new__(cls, value: int, dense: int) -> DenseInt:
        """``value`` as an integer, ``dense`` as a float."""
        size = super().__new__(cls, value)
        size.dense = dense
        return size

    def __hash__(self) -> int:
        """Not that of the plain integer, so that a cache in the user's code never hands a dense scale to later runs."""
        return hash((DenseInt, int(self), self.dense))

    def __float__(self) -> float:
        return float(self.dense)

    def __pow__(self, exponent: Any, modulo: Any = None) -> Any:
        return pow(self.dense if isinstance(exponent, float) or exponent < 0 else int(self), exponent, modulo)

    def __truediv__(self, other: Any) -> Any:
        return self.dense / other if isinstance(other, (int, float)) else NotImplemented

    def __rtruediv__(self, other: Any) -> Any:
        return other / self.dense if isinstance(other, (int, float)) else NotImplemented

    def __reduce__(self) -> tuple[Any, ...]:
        return int, (int(self),)


def _with_dense(compute: Callable[[int, int], int], reflected: bool) -> Callable[[DenseInt, Any], Any]:
    def method(self: DenseInt, other: Any) -> Any:
        if not isinstance(other, int) or isinstance(other, bool):
            return NotImplemented
        pairs = ((int(self), int(other)), (self.dense, getattr(other, "dense", int(other))))
        return DenseInt(*(compute(b, a) if reflected else compute(a, b) for a, b in pairs))

    return method


for _name, _compute in {
    "add": operator.add, "sub": operator.sub, "mul": operator.mul, "floordiv": operator.floordiv,
}.items():  # fmt: skip
    setattr(DenseInt, f"__{_name}__", _with_dense(_compute, reflected=False))
    setattr(DenseInt, f"__r{_name}__", _with_dense(_compute, reflected=True))


Notes = list[tuple[Any, Any]]
"""Pairs of a place in the user's code and what was computed with there."""


class _Recorded:
    """Notes by place: a run that skips a line (its result was kept from an earlier run) does not shift the others."""

    def __init__(self, notes: Notes) -> None:
        self._at: dict[Any, deque[Any]] = defaultdict(deque)
        for place, value in notes:
            self._at[place].append(value)

    def take(self, place: Any, own: Any) -> Any:
        """What was noted at this place next, or ``own``."""
        return self._at[place].popleft() if self._at[place] else own


def _place() -> Any:
    """The instruction of the nearest frame that is not of this file."""
    frame = sys._getframe(1)
    while frame.f_code.co_filename == __file__ and frame.f_back is not None:
        frame = frame.f_back
    return frame.f_code, frame.f_lasti


class Widths:
    """What one run computed with, in order; ``replaying`` hands it out again.

    Args:
        branches: modules of the recorded model that the other one does not have: nothing is recorded in them.
    """

    def __init__(self, branches: Iterable[nn.Module] = ()) -> None:
        self._branches = tuple(branches)
        self._shapes: Notes = []
        self._scales: Notes = []
        self._noted: Notes = []

    @contextmanager
    def recording(self) -> Iterator[None]:
        """The masked original runs within."""
        lists: tuple[Notes, ...] = (self._shapes, self._scales, self._noted)
        with ExitStack() as stack:
            stack.enter_context(heard_functionals())
            stack.enter_context(_Operators(self._noted, None))
            stack.enter_context(_Functions(self._shapes, self._scales, None))
            for branch in self._branches:
                marks: list[int] = []
                stack.callback(branch.register_forward_pre_hook(partial(_remember, lists, marks)).remove)
                stack.callback(branch.register_forward_hook(partial(_forget, lists, marks)).remove)
            yield

    @contextmanager
    def replaying(self) -> Iterator[None]:
        """The pruned model runs within."""
        functions = _Functions([], [], (_Recorded(self._shapes), _Recorded(self._scales)))
        with heard_functionals(), _Operators([], _Recorded(self._noted)), functions:
            yield


def _remember(lists: tuple[Notes, ...], marks: list[int], *_: Any) -> None:
    marks[:] = map(len, lists)


def _forget(lists: tuple[Notes, ...], marks: list[int], *_: Any) -> None:
    for recorded, mark in zip(lists, marks, strict=True):
        del recorded[mark:]


class _Functions(TorchFunctionMode):
    """Sizes that Python reads, and the default scale of attention."""

    def __init__(self, shapes: Notes, scales: Notes, recorded: tuple[_Recorded, _Recorded] | None) -> None:
        super().__init__()
        self.shapes, self.scales, self.recorded = shapes, scales, recorded

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name == "scaled_dot_product_attention" and kwargs.get("scale") is None and len(args) < 7:
            kwargs = self._scale(args[0] if args else kwargs["query"], kwargs)
        result = func(*args, **kwargs)
        if func == torch.Tensor.shape.__get__:  # type: ignore[attr-defined]
            return self._shape(result)
        if name == "size" and isinstance(args[0], torch.Tensor):
            dim = kwargs.get("dim", args[1] if len(args) > 1 else None)
            shape = self._shape(args[0].size())
            return shape if dim is None else shape[dim]
        return result

    def _scale(self, query: torch.Tensor, kwargs: dict[str, Any]) -> dict[str, Any]:
        if self.recorded is None:
            self.scales.append((_place(), query.shape[-1]))
            return kwargs
        return {**kwargs, "scale": self.recorded[1].take(_place(), query.shape[-1]) ** -0.5}

    def _shape(self, shape: torch.Size) -> torch.Size:
        if self.recorded is None:
            self.shapes.append((_place(), tuple(shape)))
            return shape
        dense = self.recorded[0].take(_place(), shape)
        if len(dense) != len(shape) or tuple(dense) == tuple(shape):
            return shape
        return torch.Size([s if s == d else DenseInt(s, d) for s, d in zip(shape, dense, strict=True)])


_SPREADS = {"var", "std", "var_mean", "std_mean"}

# Operators that choose by comparing, and the place of ``dim`` among their arguments.
_CHOOSING = {"topk": 2, "sort": 1, "argsort": 1, "argmax": 1, "argmin": 1, "nms": 1}


_NOISE = frozenset("rand randn rand_like randn_like normal normal_ uniform_ exponential_ cauchy_ log_normal_".split())
"""Operators that draw real numbers, in which tensors of other widths would get others."""


class _Operators(TorchDispatchMode):
    """Dropout keeps everything, norms know no statistics but one recorded scale, means divide by the dense width.

    Noise is one number. Choices between scores (which boxes survive) are the recorded run's.
    """

    def __init__(self, noted: Notes, recorded: _Recorded | None) -> None:
        super().__init__()
        self.noted, self.recorded = noted, recorded

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if name == "bernoulli_":
            return args[0].fill_(args[1] if len(args) > 1 and isinstance(args[1], float) else 0.5)
        if name == "native_dropout":
            return args[0].clone(), torch.ones_like(args[0], dtype=torch.bool)
        if name in _NOISE:
            with torch.random.fork_rng():
                return func(*args, **(kwargs or {})).fill_(0.5)
        result = func(*args, **(kwargs or {}))
        if name in {"native_layer_norm", "native_group_norm"}:
            return _affine(name, args, result, self._as_recorded(_magnitude(args[0])))
        if name == "div" and isinstance(args[1], torch.Tensor):  # a removed divisor is zero in the masked original
            return torch.where(args[1] == 0, torch.zeros_like(result), result) if args[1].numel() else result
        if "weight_norm" in name:  # a removed row is 0 * 0 / 0 in the masked original
            return pytree.tree_map_only(torch.Tensor, torch.nan_to_num, result)
        if name == "mean" and result.numel():
            averaged = args[0].numel() // result.numel()
            dense = self._as_recorded(averaged)
            return result if dense == averaged else result * (averaged / dense)
        if name in _SPREADS:
            first = result[0] if isinstance(result, tuple) else result
            counted = args[0].numel() // max(first.numel(), 1)
            dense = self._as_recorded(counted)
            return result if dense == counted else _spread(name, args, kwargs or {}, counted, dense)
        if name == "native_batch_norm" and args[5]:
            counted = args[0].numel() // args[0].shape[1]
            dense = self._as_recorded(counted)
            return result if dense == counted else _standardised(args, counted / dense, result)
        return self._choose(name, args, kwargs or {}, result) if name in _CHOOSING else result

    def _choose(self, name: str, args: Any, kwargs: dict[str, Any], result: Any) -> Any:
        """Pick what the recorded run picked: between equal scores any order is right."""
        own = result[1] if isinstance(result, tuple) else result
        chosen = self._as_recorded(own)
        if chosen.shape != own.shape or not isinstance(result, tuple):
            return chosen if chosen.shape == own.shape else result
        dim = kwargs.get("dim", args[_CHOOSING[name]] if len(args) > _CHOOSING[name] else -1)
        return args[0].gather(dim, chosen), chosen

    def _as_recorded(self, own: Any) -> Any:
        """What the recorded run had where this run has ``own``."""
        if self.recorded is not None:
            return self.recorded.take(_place(), own)
        self.noted.append((_place(), own))
        return own


def _spread(name: str, args: Any, kwargs: dict[str, Any], counted: int, dense: int) -> Any:
    """A variance or deviation that counts removed entries as zeros."""
    data, axes = args[0], args[1] if len(args) > 1 else kwargs.get("dim")
    correction, keep = kwargs.get("correction", 1), kwargs.get("keepdim", False)
    mean = data.mean(axes, keepdim=keep) * (counted / dense)
    squares = data.square().mean(axes, keepdim=keep) * counted
    variance = (squares - dense * mean.square()) / (dense - (1 if correction is None else correction))
    first = variance.sqrt() if name.startswith("std") else variance
    return (first, mean) if name.endswith("mean") else first


def _standardised(args: Any, share: float, result: Any) -> Any:
    """A batch norm over weights (weight standardisation) whose statistics count removed inputs as zeros."""
    data, weight, bias, *_, epsilon = args
    axes = [a for a in range(data.ndim) if a != 1]
    shape = (-1,) + (1,) * (data.ndim - 2)
    mean = data.mean(axes) * share
    variance = data.square().mean(axes) * share - mean.square()
    out = (data - mean.view(shape)) * (variance + epsilon).rsqrt().view(shape)
    out = out if weight is None else out * weight.view(shape)
    return (out if bias is None else out + bias.view(shape)), *result[1:]


def _magnitude(data: torch.Tensor) -> float:
    """Root mean square of all entries; 1 where that is no scale."""
    size = float(data.square().mean().sqrt()) if data.numel() else 1.0
    return size if 0 < size < float("inf") else 1.0


def _affine(name: str, args: Any, statistics: Any, magnitude: float) -> Any:
    """What a norm does, with one number for the whole tensor in place of its statistics."""
    if name == "native_layer_norm":
        data, weight, bias = args[0], args[2], args[3]
        shape = tuple(args[1])
    else:
        data, weight, bias = args[0], args[1], args[2]
        shape = (-1,) + (1,) * (data.ndim - 2)
    data = data / magnitude
    for vector, combine in ((weight, torch.mul), (bias, torch.add)):
        data = data if vector is None else combine(data, vector.view(shape))
    return data, *statistics[1:]
