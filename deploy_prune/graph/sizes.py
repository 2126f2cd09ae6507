"""What calls in the user's code say about sizes: ``view``, ``split``, slices and new tensors with their arguments.

Below this level C++ sees plain numbers. Here a number is a literal, a module's attribute, a size read from a tensor, or
an expression of these, and each becomes an equation on the axis that it sizes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from deploy_prune.graph.attributes import AxisSize, Expression, TracedInt, expression_of
from deploy_prune.graph.facts import Facts
from deploy_prune.graph.values import Block, Value

ValueOf = Callable[[torch.Tensor], Value]
SetValue = Callable[[torch.Tensor, Value], None]

_RESIZING = {"view", "reshape"}
_STRETCHING = {"expand", "broadcast_to", "expand_as", "repeat", "tile"}
_GROUPS = {"convolution": 8}
_GROUPS |= {f"conv{n}d": 6 for n in (1, 2, 3)} | {f"conv_transpose{n}d": 6 for n in (1, 2, 3)}
"""Functions that convolve, and which of their arguments is the number of groups."""
_CUTTING = {"tensor_split", "hsplit", "vsplit", "dsplit"}
_CREATING = {"zeros", "ones", "empty", "full", "rand", "randn", "new_zeros", "new_ones", "new_empty", "new_full"}
_SHAPING = _RESIZING | _STRETCHING | _CREATING | {"unflatten"}
_NORMALIZING = {"layer_norm", "rms_norm"}
_SPLITTING = {"split", "split_with_sizes"}


def traced_shape(value: Value, shape: Sequence[int]) -> torch.Size:
    """``shape`` in which tracked axes are integers that remember which axis they measure."""
    sizes: list[int] = list(shape)
    for block in value.blocks:
        for k, axis in enumerate(block.axes):
            sizes[axis] = TracedInt(int(sizes[axis]), AxisSize(block.atoms, k))
    return torch.Size(sizes)


def groups_given(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Expression | None:
    """How a call gives the number of groups of a convolution; None if it is none."""
    place = _GROUPS.get(getattr(function, "__name__", ""))
    return None if place is None else expression_of(kwargs.get("groups", args[place] if len(args) > place else 1))


def observe(facts: Facts, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any,
            value_of: ValueOf, set_value: SetValue) -> Any:  # fmt: skip
    """Record what one call says about sizes; returns what the user's code shall see as its result."""
    name = getattr(function, "__name__", "")
    if function == torch.Tensor.shape.__get__:  # type: ignore[attr-defined]
        return traced_shape(value_of(args[0]), result)
    if name == "size" and args and isinstance(args[0], torch.Tensor):
        return _size(value_of(args[0]), args, kwargs, result)
    if name in {"numel", "nelement"}:
        return math.prod(traced_shape(value_of(args[0]), args[0].shape))
    if name in _SHAPING and isinstance(result, torch.Tensor):
        _observe_shaping(facts, name, args, kwargs, result, value_of, set_value)
    else:
        _observe_picking(facts, name, args, kwargs, result, value_of)
    return result


def _observe_shaping(facts: Facts, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], result: torch.Tensor,
                     value_of: ValueOf, set_value: SetValue) -> None:  # fmt: skip
    """Calls that are given the shape of their result."""
    if name in _RESIZING:
        _equate(facts, value_of(result), _sizes(args[1:], kwargs))
    elif name in _STRETCHING:
        _stretch(facts, name, args, kwargs, result, value_of, set_value)
    elif name == "unflatten":
        dim = kwargs.get("dim", args[1] if len(args) > 1 else 0) % args[0].ndim
        _equate(facts, value_of(result), _sizes([kwargs.get("sizes", args[-1])], {}), first=dim)
    else:
        _create(facts, name, args[1:] if name.startswith("new_") else args, kwargs, result, set_value)


def _observe_picking(facts: Facts, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any,
                     value_of: ValueOf) -> None:  # fmt: skip
    """Calls that are given sizes of pieces of their input."""
    if name in _CUTTING:
        _cut(facts, value_of(args[0]), [value_of(piece) for piece in result])
    elif name in _SPLITTING:
        _split(facts, args, kwargs, result, value_of)
    elif name == "__getitem__":
        _getitem(facts, value_of(args[0]), args[1])
    elif name == "view_as_complex":
        _keep_strides_even(facts, args[0], value_of)
    elif name == "narrow":
        dim, start, length = (*args[1:], *(kwargs[k] for k in ("dim", "start", "length")[len(args) - 1 :]))
        _prefix(facts, value_of(args[0]), dim, start)
        _equate(facts, value_of(result), [length], first=dim % result.ndim)
    elif name in _NORMALIZING:
        _normalized(facts, value_of(args[0]), kwargs.get("normalized_shape", args[1] if len(args) > 1 else ()))


def _size(value: Value, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> Any:
    shape = traced_shape(value, value.shape)
    dim = kwargs.get("dim", args[1] if len(args) > 1 else None)
    return shape if dim is None else shape[dim] if isinstance(dim, int) else result


def _sizes(args: Sequence[Any], kwargs: dict[str, Any]) -> list[Any]:
    """The sizes that a call gives, as ``f(2, 3)``, ``f((2, 3))`` or ``f(shape=(2, 3))``."""
    given = kwargs.get("shape", kwargs.get("size", args))
    if len(given) and isinstance(given[0], (list, tuple)):
        given = given[0]
    return list(given) if all(isinstance(s, (int, torch.Tensor)) for s in given) else []


def _equate(facts: Facts, value: Value, sizes: Sequence[Any], first: int = 0) -> None:
    for axis, size in enumerate(sizes, first):
        expression = expression_of(size)
        if expression is not None and size != -1:
            facts.equate_size(value, axis, expression)


def _normalized(facts: Facts, value: Value, sizes: Sequence[Any]) -> None:
    _equate(facts, value, [s if isinstance(s, TracedInt) else -1 for s in sizes], first=value.ndim - len(sizes))


def _split(facts: Facts, args: tuple[Any, ...], kwargs: dict[str, Any], result: Sequence[torch.Tensor],
           value_of: ValueOf) -> None:  # fmt: skip
    named = kwargs.get("split_size_or_sections", kwargs.get("split_size", kwargs.get("split_sizes")))
    sizes: Any = args[1] if len(args) > 1 else named
    dim = kwargs.get("dim", args[2] if len(args) > 2 else 0)
    for k, piece in enumerate(result):
        size = sizes if isinstance(sizes, int) else sizes[k]
        lacking = int(size) - piece.shape[dim]  # the last of pieces of one size may be shorter
        _equate(facts, value_of(piece), [size - lacking if lacking else size], first=dim % piece.ndim)


def _getitem(facts: Facts, value: Value, index: Any) -> None:
    items = index if isinstance(index, tuple) else (index,)
    axis = 0
    consumed = sum(1 for i in items if i is not None and i is not Ellipsis)
    for item in items:
        if item is None:
            continue
        if item is Ellipsis:
            axis += value.ndim - consumed
            continue
        if isinstance(item, slice):
            if (item.step or 1) == 1:  # of a stride, the start is a phase, not a count
                _prefix(facts, value, axis, item.start)
            _prefix(facts, value, axis, item.stop)
        axis += item.ndim if isinstance(item, torch.Tensor) and item.dtype == torch.bool else 1


def _prefix(facts: Facts, value: Value, axis: int, bound: Any) -> None:
    """A slice bound counts the indices before it (negative: after it); these must still be as many after removal."""
    expression = expression_of(bound)
    block = value.block_at(axis) if value.ndim else None
    size = value.shape[axis] if value.ndim else 0
    if expression is None or block is None or bound == 0 or bound >= size:
        return
    k = block.axes.index(axis % value.ndim)
    counted = np.arange(size)[:bound] if bound > 0 else np.arange(size)[bound:]
    if bound < 0:
        expression = -bound if isinstance(expression, int) else None
    part = Block(block.axes, np.take(block.atoms, counted, axis=k))
    if expression is None:
        facts.freeze(part.atoms, "is cut by a computed negative bound")
    else:
        facts.equate_size(Value(part.atoms.shape, (Block(tuple(range(part.atoms.ndim)), part.atoms),)), k, expression)


def _stretch(facts: Facts, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], result: torch.Tensor,
             value_of: ValueOf, set_value: SetValue) -> None:  # fmt: skip
    """Axes of size 1 stretched to a followed size get atoms of their own, all others must keep their size."""
    value, before = value_of(result), args[0].shape
    if name == "expand_as":
        other = kwargs.get("other", args[1] if len(args) > 1 else result)
        sizes: list[Any] = list(traced_shape(value_of(other), other.shape))
    else:
        sizes = _sizes(args[1:], kwargs)
        sizes = [1] * (result.ndim - len(sizes)) + sizes  # tile takes the counts of the last axes alone
    offset = result.ndim - args[0].ndim
    stretched = [
        a for a, s in enumerate(sizes) if isinstance(s, TracedInt) and s > 1 and (a < offset or before[a - offset] == 1)
    ]
    blocks = [Block((a,), facts.fresh(result.shape[a])) for a in stretched]
    if blocks:
        value = Value(value.shape, tuple(sorted((*value.blocks, *blocks), key=lambda b: b.axes)))
        set_value(result, value)
    for axis, size in enumerate(sizes):
        if axis in stretched or name in {"expand", "broadcast_to"}:
            _equate(facts, value, [size], first=axis)


def _cut(facts: Facts, value: Value, pieces: Sequence[Value]) -> None:
    """Pieces made from the size in C++: as many as before, of equal size; unequal ones depend on the size."""
    for axis in range(value.ndim):
        block = value.block_at(axis)
        sizes = [piece.shape[axis] for piece in pieces]
        if block is None or sizes == [value.shape[axis]] * len(sizes):
            continue
        if len(set(sizes)) == 1:
            atoms = np.moveaxis(block.atoms, block.axes.index(axis), 0)
            facts.box(atoms.reshape(len(sizes), sizes[0], *atoms.shape[1:]), {0}, counted=atoms.ndim == 1)
        else:
            facts.freeze(block.atoms, "is split into unequal pieces by a computed size")


def _create(
    facts: Facts, name: str, args: Sequence[Any], kwargs: dict[str, Any], result: torch.Tensor, set_value: SetValue
) -> None:
    """A new tensor sized by an attribute or another tensor's axis gets atoms there, so that it shrinks with it."""
    sizes = _sizes(args, kwargs)
    axes = [a for a, s in enumerate(sizes[: result.ndim]) if isinstance(s, TracedInt) and s > 1]
    if axes and len(sizes) >= result.ndim:
        zero = "zeros" in name
        blocks = tuple(Block((a,), facts.fresh(result.shape[a]), zeros=zero) for a in axes)
        value = Value(tuple(result.shape), blocks)
        for axis in axes:
            _equate(facts, value, [sizes[axis]], first=axis)
        set_value(result, value)


def _keep_strides_even(facts: Facts, pairs: torch.Tensor, value_of: ValueOf) -> None:
    """Complex numbers need even strides: a tensor of which they are only a part must lose whole pairs everywhere."""
    whole = pairs._base
    if whole is None or whole.numel() == pairs.numel():
        return
    block = value_of(whole).block_at(whole.ndim - 1)
    if block is None:
        return
    indices = facts.project(block, [whole.ndim - 1]).atoms
    if len(indices) % 2 or whole.stride(-1) != 1:
        facts.freeze(indices, "lies in memory that is read as complex numbers")
    else:
        facts.unify(indices[0::2], indices[1::2])
