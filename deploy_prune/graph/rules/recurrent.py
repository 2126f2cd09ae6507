"""LSTM, GRU and RNN: several gates of one hidden axis, which the recurrence ties to itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from deploy_prune.graph.facts import Facts
from deploy_prune.graph.rules.contraction import tie_contracted
from deploy_prune.graph.rules.elementwise import combine
from deploy_prune.graph.rules.table import Call, rule
from deploy_prune.graph.rules.zeros import all_zero
from deploy_prune.graph.values import Block, Value

_GATES = {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1}
_MODE_GATES = {0: 1, 1: 1, 2: 4, 3: 3}
"""Gates by the ``mode`` number of fused layers: RNN with ReLU, with tanh, LSTM, GRU (torch: cudnn and oneDNN modes)."""


@rule("mkldnn_rnn_layer")
def fused_layer(call: Call) -> list[Value]:
    """One layer in one direction: input (T, N, I), weights (G·H, I) and (G·H, H), two biases, two states."""
    data, w_ih, w_hh, b_ih, b_hh, hx, cx = call.args[:7]
    gates = _MODE_GATES[call.args[9]]
    out = _layer(call.facts, data, [w_ih, w_hh, b_ih, b_hh], None, gates, [hx, cx])
    return [_last(shape, out) for shape in call.outputs[:3]] + [Value(shape) for shape in call.outputs[3:]]


@rule("lstm", "gru", "rnn_tanh", "rnn_relu")
def whole_network(call: Call) -> list[Value]:
    """All layers and directions at once; weights come layer by layer, direction by direction."""
    packed = isinstance(call.args[1 if call.name == "lstm" else 2], Value)
    data = call.args[0]
    states, params, has_biases, layers, _, _, both_ways = call.args[2 if packed else 1 :][:7]
    states = list(states) if isinstance(states, (list, tuple)) else [states]
    data, hidden, cell = _stack(call.facts, data, params, has_biases, layers, both_ways, _GATES[call.name], states)
    return [Value(call.shape, data.blocks), _last(call.outputs[1], hidden), *(_last(s, cell) for s in call.outputs[2:])]


@rule("_pack_padded_sequence")
def packed(call: Call) -> list[Value]:
    """(T, B, …) or (B, T, …) to the steps of all sequences in one axis."""
    kept = _channels_behind(call.facts, call.args[0], 2)
    return [kept.moved(call.shape, {a: a - 1 for a in range(2, kept.ndim)}), Value(call.outputs[1])]


@rule("_pad_packed_sequence")
def padded(call: Call) -> list[Value]:
    """Back to (T, B, …); what is filled in is zero unless another number is given."""
    kept = _channels_behind(call.facts, call.args[0], 1)
    blocks = tuple(replace(b, zeros=b.zero and not call.args[3]) for b in kept.blocks)
    result = Value(kept.shape, blocks).moved(call.shape, {a: a + 1 for a in range(1, kept.ndim)})
    return [result, Value(call.outputs[1])]


def _channels_behind(facts: Facts, value: Value, first: int) -> Value:
    """The value with blocks on axes from ``first`` on alone; the steps and sequences before them stay."""
    blocks = tuple(b for b in value.blocks if min(b.axes) >= first)
    others = tuple(b for b in value.blocks if min(b.axes) < first)
    facts.freeze(Value(value.shape, others).atoms(), "lies along the time or batch of a recurrence")
    return Value(value.shape, blocks)


@rule("_cudnn_rnn", "miopen_rnn")
def library_network(call: Call) -> list[Value]:
    """The same from a GPU library: (input, weights, stride, buffer, hx, cx, mode, hidden, [proj,] layers, …)."""
    data, params, stride, _, hx, cx, mode = call.args[:7]
    at = 9 if call.name == "_cudnn_rnn" else 8
    layers, both_ways = call.args[at], call.args[at + 4]
    states = [s for s in (hx, cx) if isinstance(s, Value)]
    data, hidden, cell = _stack(call.facts, data, params, stride > 2, layers, both_ways, _MODE_GATES[mode], states)
    return [Value(call.shape, data.blocks), _last(call.outputs[1], hidden), _last(call.outputs[2], cell),
            *(Value(shape) for shape in call.outputs[3:])]  # fmt: skip


@rule("_thnn_fused_lstm_cell", "_thnn_fused_gru_cell")
def fused_cell(call: Call) -> list[Value]:
    """Gates (N, G·H) of input and of hidden state, the old state (N, H), biases; new states come out."""
    facts, (from_input, from_hidden, state) = call.facts, call.args[:3]
    biases = [b for b in call.args[3:5] if isinstance(b, Value)]
    gates = combine(facts, [from_input, from_hidden, *biases], from_input.shape, all_zero)
    block = gates.block_at(1)
    if block is None:
        return [Value(shape) for shape in call.outputs]
    rows = facts.project(block, [1]).atoms.reshape(4 if "lstm" in call.name else 3, -1)
    hidden = Block((1,), rows[0].copy(), block.zero)
    facts.unify(np.broadcast_to(rows[:1], rows.shape), rows)
    _tie_state(facts, hidden, state)
    return [_last(s, hidden) if s[-1] == len(hidden.atoms) else Value(s) for s in call.outputs]


def _stack(
    facts: Facts, data: Value, params: Sequence[Value], has_biases: bool, layers: int, both_ways: bool, gates: int,
    states: Sequence[Value],
) -> tuple[Value, Block | None, Block | None]:  # fmt: skip
    """Layer upon layer; returns the result and the axis of the hidden and of the cell state."""
    directions = 2 if both_ways else 1
    per_layer = len(params) // (layers * directions)
    size = 2 + 2 * has_biases
    chunks: Iterator[Sequence[Value]] = (params[k : k + per_layer] for k in range(0, len(params), per_layer))
    hidden: Block | None = None
    cell: Block | None = None
    for _ in range(layers):
        outs = []
        for _ in range(directions):
            weights = next(chunks)
            projection = weights[size] if per_layer > size else None
            out = _layer(facts, data, weights[:size], projection, gates, states)
            own = weights[1].block_at(0)
            outs.append(out)
            hidden = _tied(facts, hidden, out)
            cell = _tied(facts, cell, None if own is None else replace(own, atoms=own.atoms[: len(own.atoms) // gates]))
        found = [o for o in outs if o is not None]
        blocks = [b for b in data.blocks if data.ndim - 1 not in b.axes]
        if found:
            atoms = np.concatenate([o.atoms for o in found])
            blocks.append(Block((data.ndim - 1,), atoms, all(o.zero for o in found)))
        width = sum(len(o.atoms) if o is not None else 1 for o in outs)
        data = Value((*data.shape[:-1], width), tuple(blocks))
    return data, hidden, cell


def _tied(facts: Facts, first: Block | None, other: Block | None) -> Block | None:
    """States of all layers and directions are stacked: their axes go together."""
    if first is not None and other is not None:
        facts.unify(first.atoms, other.atoms)
    return first or other


def _layer(
    facts: Facts, data: Value, weights: Sequence[Value], projection: Value | None, gates: int, states: Sequence[Any]
) -> Block | None:
    """One layer in one direction; returns its output's last axis as a block of axis 0."""
    w_ih, w_hh, *biases = weights
    tie_contracted(facts, data, data.ndim - 1, w_ih.moved(w_ih.shape[::-1], {0: 1, 1: 0}), 0)
    for block in data.blocks:
        if data.ndim - 1 not in block.axes:
            facts.freeze(block.atoms, "lies along the time or batch of a recurrence")
    stacked = w_hh.block_at(0)
    if stacked is None:
        return None
    rows = stacked.atoms.reshape(gates, -1)
    facts.unify(np.broadcast_to(rows[:1], rows.shape), rows)
    for other in (w_ih, *biases):
        gate = other.block_at(0) if other.ndim else None
        if gate is not None:
            facts.unify(gate.atoms, stacked.atoms)
    cell = Block((0,), rows[0].copy(), True)
    out: Block | None = cell
    if projection is not None:
        inner, out = projection.block_at(1), projection.block_at(0)
        if inner is not None:
            facts.unify(inner.atoms, cell.atoms)
    back = w_hh.block_at(1)
    if back is not None and out is not None:
        facts.unify(back.atoms, out.atoms)
    zero = True
    for state, axis in zip(states, (out, cell), strict=False):
        zero &= _tie_state(facts, axis, state)
    return None if out is None else Block((0,), out.atoms, out.zero and zero)


def _tie_state(facts: Facts, hidden: Block | None, state: Any) -> bool:
    """The state that a recurrence starts from has the hidden axis last; returns whether it starts at zero."""
    if hidden is None or not isinstance(state, Value) or not state.ndim or state.shape[-1] != len(hidden.atoms):
        return True
    block = state.block_at(state.ndim - 1)
    if block is None:
        facts.freeze(hidden.atoms, "starts from a state that is no parameter's")
        return False
    facts.unify(facts.project(block, [state.ndim - 1]).atoms, hidden.atoms)
    return block.zero


def _last(shape: tuple[int, ...], block: Block | None) -> Value:
    """A value whose last axis is ``block``."""
    if block is None or not shape or shape[-1] != len(block.atoms):
        return Value(shape)
    return Value(shape, (replace(block, axes=(len(shape) - 1,)),))
