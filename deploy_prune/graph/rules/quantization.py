"""Simulated quantisation with a scale and a zero point per channel."""

from __future__ import annotations

from deploy_prune.graph.rules.elementwise import combine
from deploy_prune.graph.rules.table import Call, rule
from deploy_prune.graph.values import Value


@rule("fake_quantize_per_channel_affine_cachemask", "_fake_quantize_learnable_per_channel_affine")
def per_channel(call: Call) -> list[Value]:
    """Data of any shape, scales and zero points (C,) of one of its axes: zero stays zero, as zero points are levels."""
    data, scale, zero_point, axis = call.args[:4]
    beside = (1,) * (data.ndim - 1 - axis % data.ndim)
    vectors = [v.moved((*v.shape, *beside), {0: 0}) for v in (scale, zero_point)]
    result = combine(call.facts, [data, *vectors], data.shape, lambda flags: bool(flags[0]))
    return [result for _ in call.outputs]
