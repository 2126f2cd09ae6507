"""Operators that gather over axes: sums, means, lengths, extremes, softmax, sorting."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from deploy_prune.graph.facts import Facts
from deploy_prune.graph.rules.contraction import summed, tie_contracted, without_axis
from deploy_prune.graph.rules.crossing import single_at
from deploy_prune.graph.rules.elementwise import combine
from deploy_prune.graph.rules.extents import collapse, with_block, without_blocks_at
from deploy_prune.graph.rules.table import Call, rule
from deploy_prune.graph.values import Value

Drop = Callable[[Facts, Value, int], Value]
"""Removes one axis from a value and records what that means."""


def _axes(call: Call, position: int = 1) -> list[int]:
    """The reduced axes; none given means all."""
    ndim = call.args[0].ndim
    given = call.args[position] if len(call.args) > position else None
    listed = list(given) if isinstance(given, (list, tuple)) else [given] if type(given) is int else []
    return sorted({a % max(ndim, 1) for a in listed}) or list(range(ndim))


def _reduce(call: Call, axes: Sequence[int], drop: Drop) -> list[Value]:
    """Drop ``axes``, the last first. Axes that stay with size 1 carry no atoms."""
    value = call.args[0]
    for axis in sorted(axes, reverse=True):
        value = drop(call.facts, value, axis)
    kept = [a for a in range(call.args[0].ndim) if a not in axes]
    results = []
    for shape in call.outputs:
        places = kept if len(shape) == call.args[0].ndim else list(range(len(shape)))
        blocks = tuple(replace(b, axes=tuple(places[a] for a in b.axes)) for b in value.blocks)
        results.append(Value(shape, blocks) if len(places) == len(kept) else Value(shape))
    return results


@rule("sum", "nansum", crossing=True)
def total(call: Call) -> list[Value]:
    """A sum loses only the terms of removed indices, which are zero."""
    return _reduce(call, _axes(call), summed)


@rule("linalg_vector_norm", "norm")
def length(call: Call) -> list[Value]:
    """The length of a vector does not change with entries that are zero (F.normalize, cosine attention)."""
    order = call.args[1]
    if isinstance(order, (int, float)) and order <= 0:
        return _reduce(call, _axes(call, 2), _mixed(f"a norm of order {order} depends on the number of entries"))
    lengths = _reduce(call, _axes(call, 2), summed)
    return [Value(v.shape, tuple(replace(b, square=b.zero) for b in v.blocks)) for v in lengths]


@rule("mean")
def mean(call: Call) -> list[Value]:
    """Over a tracked axis a mean depends on how many there are; that of squares or lengths is a norm's statistic."""

    def drop(facts: Facts, value: Value, axis: int) -> Value:
        block = value.block_at(axis)
        if block is not None and block.square:
            return without_axis(facts, value, axis)
        return _mixed("mean over an axis depends on its other indices")(facts, value, axis)

    return _reduce(call, _axes(call), drop)


@rule("var", "std", "var_mean", "std_mean")
def spread(call: Call) -> list[Value]:
    """Variances are statistics of norms: what is removed counts as zero, which it must be."""

    def drop(facts: Facts, value: Value, axis: int) -> Value:
        block = value.block_at(axis)
        if block is not None and block.zero_along(axis):
            return without_axis(facts, value, axis)
        return _mixed(f"{call.name} over an axis depends on its other indices")(facts, value, axis)

    return _reduce(call, _axes(call), drop)


@rule("amax", "amin", "max", "min", "argmax", "argmin", "prod", "any", "all",
      "logsumexp", "_logsumexp", "median", "nanmedian", "mode", "count_nonzero", "aminmax", "nanmean",
      "quantile", "nanquantile")  # fmt: skip
def statistic(call: Call) -> list[Value]:
    """A statistic over an axis changes when the axis shrinks: the axis keeps its indices."""
    if call.name in {"max", "min"} and len(call.values()) > 1:
        return [combine(call.facts, call.values(), call.shape)]
    results = _reduce(call, _axes(call), _mixed(f"{call.name} over an axis depends on its other indices"))
    if call.name.endswith("logsumexp"):
        return [Value(v.shape, tuple(replace(b, zeros=False) for b in v.blocks)) for v in results]
    return results


def _mixed(why: str) -> Drop:
    """Drop an axis whose indices all matter: a joint block's other axes may still shrink, a plain one is frozen."""

    def drop(facts: Facts, value: Value, axis: int) -> Value:
        block = value.block_at(axis) if value.ndim else None
        rest = collapse(facts, block, axis, why) if block is not None else None
        left = with_block(without_blocks_at(value, axis), rest)
        return without_axis(facts, left, axis) if value.ndim else left

    return drop


_ALONG = {"topk": 2, "kthvalue": 2}
"""Position of ``dim`` where it is not the first integer."""

_KEEPS_ZERO = frozenset({"cumsum", "cummax", "cummin", "sort", "topk", "kthvalue"})


@rule("_softmax", "softmax", "_log_softmax", "log_softmax", "cumsum", "cumprod", "logcumsumexp", "sort", "argsort",
      "topk", "kthvalue", "cummax", "cummin", "_safe_softmax", "softmin", crossing=True)  # fmt: skip
def along_axis(call: Call) -> list[Value]:
    """Every index along the axis depends on the others: a plain axis keeps all, a joint one the same at each index."""
    value = call.args[0]
    integers = [a for a in call.args[1:] if type(a) is int]
    dim = integers[1] if call.name in _ALONG and len(integers) > 1 else integers[0] if integers else -1
    if call.name in _ALONG and len(integers) < 2:
        dim = -1
    axis = dim % max(value.ndim, 1)
    value = single_at(call.facts, value, axis)
    block = value.block_at(axis) if value.ndim else None
    why = f"{call.name.strip('_')} over its axis depends on its other indices"
    rest = collapse(call.facts, block, axis, why) if block is not None else None
    flagged = tuple(replace(b, zeros=b.zero and call.name in _KEEPS_ZERO, square=False) for b in value.blocks)
    whole = Value(value.shape, flagged)
    kept = with_block(without_blocks_at(whole, axis), None if rest is None else replace(rest, zeros=False))
    return [_outcome(call, shape, whole, kept, axis) for shape in call.outputs]


def _outcome(call: Call, shape: tuple[int, ...], whole: Value, kept: Value, axis: int) -> Value:
    """Same shape: the whole value; another extent along the axis: the rest; the axis gone: the rest moved up."""
    if shape == whole.shape and call.name not in _ALONG:
        return whole
    if len(shape) == whole.ndim:
        return Value(shape, kept.blocks)
    return kept.moved(shape, {a: a - (a > axis) for a in range(whole.ndim) if a != axis})


@rule("_cdist_forward", "_euclidean_dist", "cdist")
def distances(call: Call) -> list[Value]:
    """Distances (…, P, R) between rows of (…, P, M) and (…, R, M): along M both must be zero where removed."""
    left, right = call.args[:2]
    last = left.ndim - 1
    turned = right.moved((*right.shape[:-2], right.shape[-1], right.shape[-2]),
                         {a: a for a in range(last - 1)} | {last - 1: last, last: last - 1})  # fmt: skip
    for block in (left.block_at(last), right.block_at(last)):
        if block is not None and not block.zero_along(last):
            call.facts.freeze(block.atoms, "goes into a distance although removed channels are not zero there")
    tie_contracted(call.facts, left, last, turned, last - 1)
    rows, columns = without_axis(call.facts, left, last), without_axis(call.facts, turned, last - 1)
    shape = call.shape
    placed = [Value((*rows.shape, 1), rows.blocks),
              columns.moved((*columns.shape[:-1], 1, columns.shape[-1]),
                            {a: a for a in range(last - 1)} | {last - 1: last})]  # fmt: skip
    return [combine(call.facts, placed, shape, lambda flags: False)]


@rule("linalg_cross", "cross")
def cross_product(call: Call) -> list[Value]:
    """Three indices of an axis mix; all other axes meet element by element."""
    values = call.values()
    dim = next((a for a in call.args[2:] if type(a) is int), -1)
    for value in values:
        block = value.block_at(dim)
        if block is not None:
            collapse(call.facts, block, dim % value.ndim, "a cross product mixes its three indices")
    return [combine(call.facts, values, call.shape, any)]
