"""Operators that pick and cut along an axis by position."""

from __future__ import annotations

import numpy as np

from deploy_prune.graph.facts import Facts
from deploy_prune.graph.rules.elementwise import combine
from deploy_prune.graph.rules.extents import keep_extent
from deploy_prune.graph.rules.table import Call, rule
from deploy_prune.graph.rules.zeros import all_zero
from deploy_prune.graph.values import Block, Value


@rule("select")
def select(call: Call) -> list[Value]:
    """One index of an axis: what stands between it and the end that it is counted from must stay; the axis goes."""
    value, dim, index = call.args
    return [_selected(call.facts, value, dim % value.ndim, index, call.shape)]


def _selected(facts: Facts, value: Value, dim: int, index: int, shape: tuple[int, ...]) -> Value:
    block = value.block_at(dim)
    if block is not None:
        counted = slice(0, index + 1) if index >= 0 else slice(value.shape[dim] + index, None)
        plain = Block(block.axes, block.atoms[counted]) if len(block.axes) == 1 else block
        keep_extent(facts, plain, dim, f"index {index} of axis {dim} is picked by number")
    single = (*value.shape[:dim], 1, *value.shape[dim + 1 :])
    picked = value.taken(dim, np.array([index]), single)
    return picked.moved(shape, {a: a - (a > dim) for a in range(value.ndim) if a != dim})


@rule("slice")
def cut(call: Call) -> list[Value]:
    """``x[start:end:step]`` along one axis. Where the bounds come from decides what it binds: see the tracer."""
    value, dim, start, end, step = (*call.args, *(0, None, None, 1)[len(call.args) - 1 :])[:5]
    return [_sliced(call.facts, value, dim % value.ndim, slice(start, end, step), call.shape)]


def _sliced(facts: Facts, value: Value, dim: int, part: slice, shape: tuple[int, ...]) -> Value:
    """Every step-th index of an axis: runs of ``step`` indices go whole, so that the others keep their turn."""
    block, size, step = value.block_at(dim), value.shape[dim], part.step or 1
    if step != 1 and block is not None:
        whole = (part.start or 0) < step and (part.stop is None or part.stop >= size)
        if size % step or not whole:
            keep_extent(facts, block, dim, f"every {step}th index of axis {dim} is taken by position")
        else:
            turns = np.moveaxis(block.atoms, block.axes.index(dim), -1)
            turns = turns.reshape(*turns.shape[:-1], size // step, step)
            facts.unify(np.broadcast_to(turns[..., :1], turns.shape), turns)
    return value.taken(dim, np.arange(size)[part], shape)


@rule("split", "split_with_sizes", "unsafe_split", "unsafe_split_with_sizes", "chunk", "unsafe_chunk", "tensor_split")
def split(call: Call) -> list[Value]:
    """Pieces of one axis. Equal pieces must stay equal: the array (pieces, size) is a box of fixed piece count.

    Pieces of a computed size keep their differences too: of each goes the same number, and what some have more stays.
    """
    value = call.args[0]
    dim = (call.args[2] if len(call.args) > 2 else 0) % value.ndim
    sizes = [shape[dim] for shape in call.outputs]
    bounds = np.cumsum([0, *sizes])
    pieces = [
        value.taken(dim, np.arange(a, b), shape) for a, b, shape in zip(bounds, bounds[1:], call.outputs, strict=False)
    ]
    block = value.block_at(dim)
    if block is not None:
        if len(set(sizes)) == 1:
            atoms = np.moveaxis(block.atoms, block.axes.index(dim), 0)
            call.facts.box(atoms.reshape(len(sizes), sizes[0], *atoms.shape[1:]), {0}, counted=atoms.ndim == 1)
            if atoms.ndim == 1:
                call.facts.lay_out(atoms)
        elif not call.name.endswith("with_sizes"):
            _unequal(call.facts, block, dim, bounds)
    return pieces


def _unequal(facts: Facts, block: Block, dim: int, bounds: np.ndarray) -> None:
    """``chunk`` where the last piece is shorter: the k-th index of every piece goes at once."""
    if len(block.axes) > 1:
        keep_extent(facts, block, dim, "is split into unequal pieces by a computed size")
        return
    shared = bounds[:-1, None] + np.arange(np.diff(bounds).min())
    facts.box(block.atoms[shared], {0})
    facts.lay_out(block.atoms)
    facts.freeze(np.delete(block.atoms, shared), "is what unequal pieces of a split have more than the shortest")


@rule("unbind")
def unbind(call: Call) -> list[Value]:
    """Every index of an axis by itself: their number must stay."""
    value = call.args[0]
    dim = (call.args[1] if len(call.args) > 1 else 0) % value.ndim
    block = value.block_at(dim)
    if block is not None:
        keep_extent(call.facts, block, dim, "is unbound into single indices")
    single = (*value.shape[:dim], 1, *value.shape[dim + 1 :])
    return [
        value.taken(dim, np.array([k]), single).moved(out, {a: a - (a > dim) for a in range(value.ndim) if a != dim})
        for k, out in enumerate(call.outputs)
    ]


@rule("glu")
def gated(call: Call) -> list[Value]:
    """``a * sigmoid(b)`` of the two halves of an axis: index i of one goes with index i of the other."""
    value = call.args[0]
    dim = (call.args[1] if len(call.args) > 1 else -1) % value.ndim
    half = value.shape[dim] // 2
    first = value.taken(dim, np.arange(half), call.shape)
    second = value.taken(dim, np.arange(half, 2 * half), call.shape)
    return [combine(call.facts, [first, second], call.shape, lambda flags: bool(flags[0]))]


@rule("flip", "roll")
def reorder(call: Call) -> list[Value]:
    """Indices of an axis in another order. Those that a roll carries over the end are counted: they must stay."""
    value = call.args[0]
    dims = call.args[1] if call.name == "flip" else call.args[2]
    shifts = [0] * len(dims) if call.name == "flip" else call.args[1]
    if call.name == "roll" and not dims and value.tracked:
        call.facts.freeze_values([value], "is rolled over all axes at once")
    for shift, axis in zip(shifts, [a % value.ndim for a in dims], strict=False):
        block, size = value.block_at(axis), value.shape[axis]
        if block is None:
            continue
        order = np.arange(size)[::-1]
        if call.name == "roll":
            order = np.roll(np.arange(size), shift)
            wrapped = slice(0, -shift) if shift < 0 else slice(max(size - shift, 0), None)
            counted = block.atoms[wrapped] if len(block.axes) == 1 and abs(shift) < size else block.atoms
            call.facts.freeze(counted, f"axis {axis} is rolled by the fixed number {shift}")
        value = value.taken(axis, order, value.shape)
    return [value]


@rule("rot90")
def quarter_turn(call: Call) -> list[Value]:
    """Two axes, untracked both, change places."""
    value, times, (a, b) = call.args
    a, b = a % value.ndim, b % value.ndim
    for axis in (a, b):
        block = value.block_at(axis)
        if block is not None:
            call.facts.freeze(block.atoms, "is turned in a plane")
    if times % 2 == 0:
        return [value]
    return [value.moved(call.shape, {k: b if k == a else a if k == b else k for k in range(value.ndim)})]


@rule("diagonal", "diagonal_copy")
def diagonal(call: Call) -> list[Value]:
    """Where two axes run alike; the others come first, the diagonal last."""
    value, _, first, second = call.args[:4]
    gone = {first % value.ndim, second % value.ndim}
    for block in value.blocks:
        for axis in gone & set(block.axes):
            keep_extent(call.facts, block, axis, "is read along a diagonal")
    kept = Value(value.shape, tuple(b for b in value.blocks if not gone & set(b.axes)))
    rest = [a for a in range(value.ndim) if a not in gone]
    return [kept.moved(call.shape, {a: k for k, a in enumerate(rest)})]


@rule("unfold")
def windows(call: Call) -> list[Value]:
    """``x.unfold(dim, size, step)``: windows over an axis go to a new last axis; the axis keeps its size."""
    value, dim = call.args[0], call.args[1] % max(call.args[0].ndim, 1)
    block = value.block_at(dim)
    blocks = [b for b in value.blocks if b is not block]
    if block is not None:
        keep_extent(call.facts, block, dim, "is cut into overlapping windows")
        if len(block.axes) > 1:
            blocks.append(call.facts.project(block, [a for a in block.axes if a != dim]))
    return [Value(call.shape, tuple(sorted(blocks, key=lambda b: b.axes)))]


@rule("select_scatter", "slice_scatter")
def written_part(call: Call) -> list[Value]:
    """A copy with one index, or a slice, of an axis replaced: the part meets what replaces it."""
    facts, (value, source, dim) = call.facts, call.args[:3]
    dim %= value.ndim
    if call.name == "select_scatter":
        part = _selected(facts, value, dim, call.args[3], source.shape)
    else:
        start, end, step = (*call.args[3:], *(None, None, 1)[len(call.args) - 3 :])[:3]
        block = value.block_at(dim)
        if block is not None:
            keep_extent(facts, block, dim, "is written to by position")
        part = _sliced(facts, value, dim, slice(start, end, step), source.shape)
    combine(facts, [part, source], source.shape, all_zero)
    return [Value(value.shape, tuple(Block(b.axes, b.atoms) for b in value.blocks))]
