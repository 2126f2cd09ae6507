"""Operators that treat every element by itself, with broadcasting: what meets at one index lives and dies together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from deploy_prune.graph.facts import Facts
from deploy_prune.graph.rules.crossing import crosses, joint_axes, maximal, tie_shared
from deploy_prune.graph.rules.table import Call, rule
from deploy_prune.graph.rules.zeros import Flags, all_zero, keeps_zero
from deploy_prune.graph.values import Block, Value

NAMES = """
    abs add addcdiv addcmul asinh atan atan2 bitwise_and bitwise_not bitwise_or bitwise_xor ceil celu clamp clamp_max
    clamp_min clone alias contiguous copy cos cosh detach div elu eq erf erfc exp exp2 expm1 floor floor_divide fmod
    ge gelu gt hardshrink hardsigmoid hardswish hardtanh isfinite isinf isnan isneginf isposinf le leaky_relu
    lerp lift_fresh log log10 log1p log2 log_sigmoid_forward logical_and logical_not logical_or logical_xor logit lt
    masked_fill maximum minimum mish mul nan_to_num ne neg pow positive reciprocal relu relu6 remainder round rsqrt
    rsub selu sigmoid sign silu sin sinh softplus softshrink sqrt square sub tan tanh threshold trunc where xlogy
    _to_copy _prelu_kernel prelu rrelu rrelu_with_noise rrelu_with_noise_functional bernoulli native_dropout dropout
    feature_dropout _conj conj_physical _neg_view fill zero zeros_like ones_like full_like rand_like randn_like
    randint_like empty_like uniform normal random exponential log_normal cauchy geometric smooth_l1_loss mse_loss
    huber_loss binary_cross_entropy binary_cross_entropy_with_logits polar complex real imag angle poisson
    quantize_per_tensor dequantize fake_quantize_per_tensor_affine_cachemask
""".split()


@rule(*NAMES, crossing=True)
def elementwise(call: Call) -> list[Value]:
    """Unify what meets; broadcast axes take the atoms of the operand that has them.

    A result of fewer axes than its operands is a loss summed up at the end: it depends on all of them.
    """
    values = call.values()
    results: list[Value] = []
    for shape in call.outputs:
        if any(v.ndim > len(shape) and v.tracked for v in values):
            call.facts.freeze_values(values, f"is summed up by {call.name}")
            results.append(Value(shape))
        else:
            results.append(_squares(call, combine(call.facts, values, shape, keeps_zero(call))))
    return results


def _squares(call: Call, result: Value) -> Value:
    """Mark squares of what is zero where removed: their mean is a statistic like a norm layer's."""
    first, second = (*call.args, None)[:2]
    squared = call.name == "square" or (call.name == "pow" and second == 2) or (call.name == "mul" and first is second)
    return Value(result.shape, tuple(replace(b, square=b.zero) for b in result.blocks)) if squared else result


def combine(
    facts: Facts, values: Sequence[Value], shape: tuple[int, ...], zero: Callable[[Flags], bool] = all_zero
) -> Value:
    """Value of an element-wise operator on ``values`` broadcast to ``shape``; ``zero`` tells where it keeps zeros."""
    if len(values) == 1 and values[0].shape == shape and not crosses(values[0]):
        return _alone(values[0], zero)
    # the axes of an operand that has as many are where they were
    aligned = [
        v if v.ndim == len(shape) else v.moved(shape, {a: a + len(shape) - v.ndim for a in range(v.ndim)})
        for v in values
    ]
    sizes = [(1,) * (len(shape) - v.ndim) + v.shape for v in values]
    blocks = []
    for axes in joint_axes([b.axes for v in aligned for b in v.blocks]):
        parts = [[b for b in v.blocks if b.axes[0] in axes] for v in aligned]
        whole = next((p[0] for p in parts if p and p[0].axes == axes), None)
        if whole is None:
            blocks += _crossing(facts, parts, sizes, zero)
            continue
        kept = tuple(zero([_flag(p, a, s) for p, s in zip(parts, sizes, strict=True)]) for a in axes)
        for part in parts:
            for block in part:
                facts.unify(facts.project(whole, block.axes).atoms, block.atoms)
        if _stays(facts, whole, parts, sizes):
            blocks.append(replace(whole, zeros=kept, square=False))
    return Value(shape, tuple(sorted(blocks, key=lambda b: b.axes)))


def _alone(value: Value, zero: Callable[[Flags], bool]) -> Value:
    """The same value, but for what the operator does to zeros."""
    blocks = []
    for block in value.blocks:
        before = block.zeros_along(block.axes)
        kept = tuple(zero([flag]) for flag in before)
        same = kept == before and not block.square
        blocks.append(block if same else replace(block, zeros=kept, square=False))
    return value if tuple(blocks) == value.blocks and value.numbers is None else Value(value.shape, tuple(blocks))


def _crossing(
    facts: Facts, parts: Sequence[Sequence[Block]], sizes: Sequence[Sequence[int]], zero: Callable[[Flags], bool]
) -> list[Block]:
    """Blocks over axes that no operand spans alone (channels against channels within each head)."""
    everything = [block for part in parts for block in part]
    tie_shared(facts, everything)
    blocks = []
    for whole in maximal(everything):
        spanned = whole.axes
        kept = tuple(zero([_flag_within(p, spanned, a, s) for p, s in zip(parts, sizes, strict=True)]) for a in spanned)
        if _stays(facts, whole, parts, sizes):
            blocks.append(replace(whole, zeros=kept, square=False))
    return blocks


def _flag(part: Sequence[Block], axis: int, size: Sequence[int]) -> bool | None:
    """Whether an operand is zero where an index of ``axis`` is removed; None where it has no block in question.

    Its blocks must cover the axis, unless it keeps it from shrinking (see :func:`_stays`).
    """
    there = [block for block in part if axis in block.axes]
    return (all(b.zero_along(axis) for b in there) if there else size[axis] > 1) if part else None


def _flag_within(part: Sequence[Block], axes: tuple[int, ...], axis: int, size: Sequence[int]) -> bool | None:
    """The same where blocks may reach over ``axes``: what those do tells nothing about an atom of these axes alone."""
    touching = [block for block in part if set(block.axes) & set(axes)]
    within = [block for block in touching if set(block.axes) <= set(axes)]
    return bool(within) and _flag(within, axis, size) if touching else None


def _stays(facts: Facts, whole: Block, parts: Sequence[Sequence[Block]], sizes: Sequence[Sequence[int]]) -> bool:
    """An axis of ``whole`` that an operand has without atoms keeps its size.

    Where an operand has none of the axes' atoms they are frozen, and nothing is left to follow: returns False.
    """
    stays = True
    for part, size in zip(parts, sizes, strict=True):
        covered = {a for block in part for a in block.axes}
        bare = [a for a in whole.axes if a not in covered and size[a] > 1]
        if len(bare) == len(whole.axes):
            why = f"meets a tensor of shape {tuple(size)} whose axis {bare[0]} is no parameter's"
            facts.freeze(whole.atoms, why)
            stays = False
        elif bare:
            facts.box(whole.atoms, [whole.axes.index(a) for a in bare])
    return stays
