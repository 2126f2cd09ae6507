"""Scaled dot-product attention in one operator: queries meet keys per head, weights meet values per head."""

from __future__ import annotations

import numpy as np

from deploy_prune.graph.facts import Facts
from deploy_prune.graph.rules.contraction import contract
from deploy_prune.graph.rules.crossing import single_at
from deploy_prune.graph.rules.elementwise import combine
from deploy_prune.graph.rules.extents import collapse, with_block, without_blocks_at
from deploy_prune.graph.rules.table import Call, rule
from deploy_prune.graph.values import Value


@rule("scaled_dot_product_attention", "_scaled_dot_product_attention_math",
      "_scaled_dot_product_attention_math_for_mps", "_scaled_dot_product_flash_attention",
      "_scaled_dot_product_flash_attention_for_cpu",
      "_scaled_dot_product_efficient_attention", "_scaled_dot_product_cudnn_attention",
      "_scaled_dot_product_fused_attention_overrideable")  # fmt: skip
def attention(call: Call) -> list[Value]:
    """``softmax(q k.T + mask) v`` with q (B, H, L, E), k (B, G, S, E), v (B, G, S, Ev); G divides H (grouped queries).

    Scores carry the heads; what the operator returns beside the result is for its backward pass.
    """
    facts, (query, key, value) = call.facts, call.args[:3]
    key, value = _per_head(key, query), _per_head(value, query)
    scores_shape = (*query.shape[:-1], key.shape[-2])
    last = key.ndim - 1
    turned = key.moved((*key.shape[:-2], key.shape[-1], key.shape[-2]), _swap_last(last))
    scores = contract(facts, query, turned, scores_shape)
    masks = [a for a in (*call.args[3:], *call.kwargs.values()) if isinstance(a, Value)]
    scores = combine(facts, [scores, *masks], scores_shape, lambda flags: False)
    weights = _normalised(facts, scores, len(scores_shape) - 1)
    return [contract(facts, weights, value, call.shape), *(Value(shape) for shape in call.outputs[1:])]


def _per_head(value: Value, query: Value) -> Value:
    """Keys or values repeated over the queries' heads that share them."""
    if value.ndim < 3 or value.shape[-3] in (1, query.shape[-3]):
        return value
    axis, heads = value.ndim - 3, query.shape[-3]
    repeated = np.repeat(np.arange(value.shape[axis]), heads // value.shape[axis])
    return value.taken(axis, repeated, (*value.shape[:axis], heads, *value.shape[axis + 1 :]))


def _swap_last(last: int) -> dict[int, int]:
    return {a: a for a in range(last - 1)} | {last - 1: last, last: last - 1}


def _normalised(facts: Facts, scores: Value, axis: int) -> Value:
    """Softmax over ``axis``."""
    scores = single_at(facts, scores, axis)
    block = scores.block_at(axis)
    if block is None:
        return scores
    rest = collapse(facts, block, axis, "softmax over its axis depends on its other indices")
    return with_block(without_blocks_at(scores, axis), rest)
