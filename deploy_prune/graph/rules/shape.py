"""Operators that only rearrange a tensor: views, permutations, broadcasts. Atoms move with their indices."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from deploy_prune.graph.facts import Facts
from deploy_prune.graph.rules.crossing import merged
from deploy_prune.graph.rules.table import Call, rule, split_segments
from deploy_prune.graph.values import Block, Value


@rule("view", "_unsafe_view", "reshape", "_reshape_alias", "flatten", "unflatten", crossing=True)
def view(call: Call) -> list[Value]:
    """Match segments of equal product; inside a segment spread, reshape, and drop axes along which atoms repeat."""
    value = call.args[0]
    return [reshaped(call.facts, value, call.shape)]


def reshaped(facts: Facts, value: Value, shape: tuple[int, ...]) -> Value:
    """``value`` viewed as ``shape``; a block that then spans several axes must stay a full box."""
    if not value.blocks:
        return Value(shape)
    old, new = _as_if_filled(value.shape), _as_if_filled(shape)
    if math.prod(old) != math.prod(new):
        facts.freeze_values([value], "is viewed while empty or as another type")
        return Value(shape)
    segments = split_segments(old, new)
    blocks = []
    for block in _separable(facts, value.blocks, segments):
        touched = [s for s in segments if set(s[0]) & set(block.axes)]
        blocks.append(_reshape_block(facts, block, old, new, touched))
    return Value(shape, tuple(sorted(blocks, key=lambda b: b.axes)))


def _as_if_filled(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape without zeros: an empty batch (no detections) stands for any number, here a prime nobody has."""
    return tuple(s or 10007 for s in shape)


def _separable(
    facts: Facts, blocks: Sequence[Block], segments: Sequence[tuple[list[int], list[int]]]
) -> Iterator[Block]:
    """Blocks that can be viewed one by one: those that share a segment but not its axes are merged."""
    groups: list[tuple[set[int], list[Block]]] = []
    for block in blocks:
        touched = {k for k, s in enumerate(segments) if set(s[0]) & set(block.axes)}
        met = [g for g in groups if g[0] & touched]
        groups = [g for g in groups if not g[0] & touched]
        groups.append((touched.union(*(g[0] for g in met)), [*(b for g in met for b in g[1]), block]))
    for touched, together in groups:
        covered = [[set(segments[k][0]) & set(b.axes) for b in together] for k in touched]
        apart = len(together) == 1 or all(len({frozenset(c) for c in there if c}) == 1 for there in covered)
        yield from together if apart else [merged(facts, together)]


def _reshape_block(
    facts: Facts,
    block: Block,
    old: tuple[int, ...],
    new: tuple[int, ...],
    segments: Sequence[tuple[list[int], list[int]]],
) -> Block:
    """The block over the new axes of its segments; a segment that falls into several tracked axes makes a box."""
    old_axes, new_axes = [a for s in segments for a in s[0]], [a for s in segments for a in s[1]]
    spread_shape = [old[a] if a in block.axes else 1 for a in old_axes]
    atoms = np.broadcast_to(block.atoms.reshape(spread_shape), [old[a] for a in old_axes])
    atoms = atoms.reshape([new[a] for a in new_axes])
    kept = [k for k in range(atoms.ndim) if (atoms != np.take(atoms, [0], axis=k)).any()]
    kept = kept or [0]
    atoms = atoms[tuple(slice(None) if k in kept else 0 for k in range(atoms.ndim))]
    tracked = {new_axes[k] for k in kept}
    if any(len(tracked & set(s[1])) > 1 for s in segments):
        facts.box(atoms)
    if len(kept) != len(block.axes):
        facts.lay_out(atoms)
    zeros = {a: all(block.zero_along(b) for b in s[0] if b in block.axes) for s in segments for a in s[1]}
    axes = tuple(sorted(tracked))
    return replace(block, axes=axes, atoms=atoms, zeros=tuple(zeros[a] for a in axes))


@rule("permute", crossing=True)
def permute(call: Call) -> list[Value]:
    """Axes change places."""
    value, order = call.args[0], [a % call.args[0].ndim for a in call.args[1]]
    return [value.moved(call.shape, {old: new for new, old in enumerate(order)})]


@rule("transpose", "t", "swapaxes", "numpy_T", "adjoint", "mT", crossing=True)
def transpose(call: Call) -> list[Value]:
    """Two axes change places (the last two for ``t``)."""
    value = call.args[0]
    if value.ndim < 2:
        return [value]
    a, b = (
        (call.args[1] % value.ndim, call.args[2] % value.ndim)
        if len(call.args) > 2
        else (value.ndim - 2, value.ndim - 1)
    )
    return [value.moved(call.shape, {k: b if k == a else a if k == b else k for k in range(value.ndim)})]


@rule("movedim")
def movedim(call: Call) -> list[Value]:
    """Axes move; the others keep their order."""
    value, source, target = call.args
    source = [a % value.ndim for a in source]
    target = [a % value.ndim for a in target]
    rest = iter([a for a in range(value.ndim) if a not in source])
    order = [source[target.index(k)] if k in target else next(rest) for k in range(value.ndim)]
    return [value.moved(call.shape, {old: new for new, old in enumerate(order)})]


@rule("unsqueeze", "squeeze", crossing=True)
def singleton(call: Call) -> list[Value]:
    """Axes of size 1 appear or vanish; the others keep their order."""
    value = call.args[0]
    long_old = [a for a, s in enumerate(value.shape) if s != 1]
    long_new = [a for a, s in enumerate(call.shape) if s != 1]
    return [value.moved(call.shape, dict(zip(long_old, long_new, strict=True)))]


@rule("expand", "broadcast_to", crossing=True)
def expand(call: Call) -> list[Value]:
    """New leading axes and stretched axes of size 1 carry no atoms."""
    value = call.args[0]
    offset = len(call.shape) - value.ndim
    return [value.moved(call.shape, {a: a + offset for a in range(value.ndim)})]


@rule("repeat", "tile")
def repeat(call: Call) -> list[Value]:
    """An axis laid end to end: its atoms repeat."""
    value, counts = call.args
    offset = len(call.shape) - value.ndim
    blocks = []
    for block in value.blocks:
        times = [counts[a + offset] for a in block.axes]
        axes = tuple(a + offset for a in block.axes)
        blocks.append(replace(block, axes=axes, atoms=np.tile(block.atoms, times)))
    return [Value(call.shape, tuple(blocks))]


@rule("repeat_interleave")
def repeat_interleave(call: Call) -> list[Value]:
    """Each index of an axis several times in place; counts from a tensor are known only at run time."""
    value, count = call.args[:2]
    dim = call.args[2] if len(call.args) > 2 else None
    if not isinstance(count, int) or dim is None:
        call.facts.freeze_values(call.values(), "is repeated by counts known only at run time")
        return [Value(call.shape)]
    return [value.taken(dim, np.repeat(np.arange(value.shape[dim]), count), call.shape)]


@rule("as_strided", "set", "resize")
def restride(call: Call) -> list[Value]:
    """A change of memory layout; only one that leaves the shape as it is can be followed."""
    value = call.args[0]
    if value.shape == call.shape:
        return [value]
    call.facts.freeze_values([value], "is restrided into another shape")
    return [Value(call.shape)]


@rule("pixel_shuffle", "pixel_unshuffle", "channel_shuffle", "native_channel_shuffle")
def through_views(call: Call) -> list[Value]:
    """Rearrangements between channels and space, as the views that they are by definition."""
    value, factor = call.args
    facts, (*lead, c, h, w) = call.facts, value.shape
    lead_axes = list(range(len(lead)))
    n = len(lead)
    if call.name == "pixel_shuffle":
        split = reshaped(facts, value, (*lead, c // factor**2, factor, factor, h, w))
        order = [*lead_axes, n, n + 3, n + 1, n + 4, n + 2]
    elif call.name == "pixel_unshuffle":
        split = reshaped(facts, value, (*lead, c, h // factor, factor, w // factor, factor))
        order = [*lead_axes, n, n + 2, n + 4, n + 1, n + 3]
    else:
        split = reshaped(facts, value, (*lead, factor, c // factor, h, w))
        order = [*lead_axes, n + 1, n, n + 2, n + 3]
    fixed = {"pixel_shuffle": (1, 2), "pixel_unshuffle": ()}.get(call.name, (0,))
    for block in split.blocks:
        if len(block.axes) > 1 and fixed:
            facts.box(block.atoms, [k for k, a in enumerate(block.axes) if a - n in fixed])
    moved = split.moved([split.shape[a] for a in order], {old: new for new, old in enumerate(order)})
    return [reshaped(facts, moved, call.shape)]
