"""Operators that gather over axes: sums, means, extremes, softmax, sorting."""

from __future__ import annotations

from collections.abc import Sequence

from deploy_prune.graph.rules.contraction import without_axis
from deploy_prune.graph.rules.table import Call, rule
from deploy_prune.graph.values import Block, Value


def _axes(call: Call, position: int = 1) -> list[int]:
    """The reduced axes; none given means all."""
    ndim = call.args[0].ndim
    given = call.args[position] if len(call.args) > position else None
    if isinstance(given, (bool, Value)) or given is None or given == []:
        return list(range(ndim))
    return [a % max(ndim, 1) for a in (given if isinstance(given, (list, tuple)) else [given])]


def _reduce(call: Call, axes: Sequence[int], why: str | None) -> list[Value]:
    """Drop ``axes``; with ``why`` what was tracked along them is frozen. Kept axes of size 1 carry no atoms."""
    value = call.args[0]
    for axis in sorted(axes, reverse=True):
        block = value.block_at(axis) if value.ndim else None
        if block is not None and why:
            call.facts.freeze(block.atoms, why)
        value = without_axis(call.facts, value, axis) if value.ndim else value
    kept = [a for a in range(call.args[0].ndim) if a not in axes]
    results = []
    for shape in call.outputs:
        places = kept if len(shape) == call.args[0].ndim else list(range(len(shape)))
        blocks = tuple(Block(tuple(places[a] for a in b.axes), b.atoms) for b in value.blocks)
        results.append(Value(shape, blocks) if len(places) == len(kept) else Value(shape))
    return results


@rule("sum", "nansum")
def total(call: Call) -> list[Value]:
    """A sum loses only the terms of removed indices."""
    return _reduce(call, _axes(call), None)


@rule("mean", "amax", "amin", "max", "min", "argmax", "argmin", "prod", "var", "std", "var_mean", "std_mean", "any",
      "all", "logsumexp", "median", "nanmedian", "mode", "count_nonzero", "aminmax")  # fmt: skip
def statistic(call: Call) -> list[Value]:
    """A statistic over an axis changes when the axis shrinks: what is tracked along it is frozen."""
    if call.name in {"max", "min"} and len(call.values()) > 1:
        raise AssertionError("two-operand max and min arrive as maximum and minimum")
    return _reduce(call, _axes(call), f"{call.name} over an axis depends on its other indices")


@rule("_softmax", "softmax", "_log_softmax", "log_softmax", "cumsum", "cumprod", "logcumsumexp", "sort", "argsort",
      "topk", "kthvalue", "cummax", "cummin", "_safe_softmax")  # fmt: skip
def along_axis(call: Call) -> list[Value]:
    """Every index along the axis depends on the others: the axis keeps all of them."""
    value = call.args[0]
    position = {"sort": 1, "topk": 2, "kthvalue": 2}.get(call.name, 1)
    dim = call.args[position] if len(call.args) > position and isinstance(call.args[position], int) else -1
    axis = dim % max(value.ndim, 1)
    block = value.block_at(axis) if value.ndim else None
    if block is not None:
        call.facts.freeze(block.atoms, f"{call.name.strip('_')} over its axis depends on its other indices")
    kept = tuple(b for b in value.blocks if axis not in b.axes)
    own = value.blocks if call.name not in {"topk", "kthvalue"} else kept
    return [
        Value(shape, own if shape == value.shape else kept if len(shape) == value.ndim else ())
        for shape in call.outputs
    ]
