"""Fourier transforms, complex numbers and pairs of real ones (rotary embeddings)."""

from __future__ import annotations

from deploy_prune.graph.facts import Facts
from deploy_prune.graph.rules.extents import collapse, without_blocks_at
from deploy_prune.graph.rules.table import Call, rule
from deploy_prune.graph.values import Block, Value


def _mix(facts: Facts, value: Value, axes: list[int], why: str) -> list[Block]:
    """Blocks of the value once all indices of ``axes`` are mixed."""
    for axis in axes:
        block = value.block_at(axis)
        if block is not None:
            rest = collapse(facts, block, axis, why)
            blocks = [*without_blocks_at(value, axis).blocks, *([rest] if rest is not None else [])]
            value = Value(value.shape, tuple(blocks))
    return sorted(value.blocks, key=lambda b: b.axes)


@rule("_fft_c2c", "_fft_r2c", "_fft_c2r", "stft", "istft")
def fourier(call: Call) -> list[Value]:
    """Transformed axes keep their size; along all others a transform is linear and maps zero to zero."""
    value = call.args[0]
    axes = call.args[1] if isinstance(call.args[1], (list, tuple)) else range(value.ndim)
    why = f"{call.name.strip('_')} mixes all indices of its axis"
    return [Value(call.shape, tuple(_mix(call.facts, value, [a % value.ndim for a in axes], why)))]


@rule("view_as_complex")
def as_complex(call: Call) -> list[Value]:
    """(…, 2) to complex (…): the two numbers of a pair go together."""
    value = call.args[0]
    last = value.ndim - 1
    return [Value(call.shape, tuple(_mix(call.facts, value, [last], "is read as real and imaginary parts")))]


@rule("view_as_real")
def as_real(call: Call) -> list[Value]:
    """Complex (…) to (…, 2)."""
    return [Value(call.shape, call.args[0].blocks)]
