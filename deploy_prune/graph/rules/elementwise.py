"""Operators that treat every element by itself, with broadcasting: what meets at one index lives and dies together."""

from __future__ import annotations

from collections.abc import Sequence

from deploy_prune.graph.rules.table import Call, rule
from deploy_prune.graph.values import Block, Facts, Value

NAMES = """
    abs add addcdiv addcmul asinh atan atan2 bitwise_and bitwise_not bitwise_or bitwise_xor ceil celu clamp clamp_max
    clamp_min clone alias contiguous copy cos cosh detach div elu eq erf erfc exp exp2 expm1 floor floor_divide fmod
    ge gelu glu_jvp gt hardshrink hardsigmoid hardswish hardtanh isfinite isinf isnan isneginf isposinf le leaky_relu
    lerp lift_fresh log log10 log1p log2 log_sigmoid_forward logical_and logical_not logical_or logical_xor logit lt
    masked_fill maximum minimum mish mul nan_to_num ne neg pow positive reciprocal relu relu6 remainder round rsqrt
    rsub selu sigmoid sign silu sin sinh softplus softshrink sqrt square sub tan tanh threshold trunc where xlogy
    _to_copy _prelu_kernel bernoulli native_dropout dropout relu_ _conj fill zero zeros_like ones_like full_like
    rand_like randn_like empty_like uniform normal random exponential
""".split()


@rule(*NAMES)
def elementwise(call: Call) -> list[Value]:
    """Unify what meets; broadcast axes take the atoms of the operand that has them."""
    values = call.values()
    return [combine(call.facts, values, shape) if shape else Value(shape) for shape in call.outputs]


def combine(facts: Facts, values: Sequence[Value], shape: tuple[int, ...]) -> Value:
    """Value of an element-wise operator on ``values`` broadcast to ``shape``."""
    aligned = [v.moved(shape, {a: a + len(shape) - v.ndim for a in range(v.ndim)}) for v in values]
    sizes = [(1,) * (len(shape) - v.ndim) + v.shape for v in values]
    blocks = []
    for axes in _joint_axes([b.axes for v in aligned for b in v.blocks]):
        parts = [[b for b in v.blocks if b.axes[0] in axes] for v in aligned]
        whole = next((p[0] for p in parts if p and p[0].axes == axes), None)
        if whole is None:
            for part in parts:
                for block in part:
                    facts.freeze(block.atoms, "meets an element-wise operand that is split over other axes")
            continue
        for part, size in zip(parts, sizes, strict=True):
            _meet(facts, whole, part, size)
        blocks.append(whole)
    return Value(shape, tuple(sorted(blocks, key=lambda b: b.axes)))


def _meet(facts: Facts, whole: Block, part: Sequence[Block], size: Sequence[int]) -> None:
    """Tie one operand's blocks over the axes of ``whole`` to it; an axis that it has without atoms freezes the rest."""
    for block in part:
        facts.unify(facts.project(whole, block.axes).atoms, block.atoms)
    covered = {a for block in part for a in block.axes}
    bare = [a for a in whole.axes if a not in covered and size[a] > 1]
    if bare:
        facts.freeze(whole.atoms, f"meets a tensor of shape {tuple(size)} whose axis {bare[0]} is no parameter's")


def _joint_axes(axes: Sequence[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """Axes that joint blocks connect, as ascending tuples."""
    groups: list[set[int]] = []
    for members in axes:
        touching = [g for g in groups if g & set(members)]
        groups = [g for g in groups if not g & set(members)]
        groups.append(set(members).union(*touching))
    return sorted(tuple(sorted(g)) for g in groups)


@rule("arange", "empty", "zeros", "ones", "full", "scalar_tensor", "linspace", "eye", "rand", "randn", "randint",
      "randperm", "new_zeros", "new_ones", "new_full", "new_empty", "tril_indices", "triu_indices", "empty_strided",
      "new_empty_strided", "_local_scalar_dense", "item", "is_nonzero", "equal", "sym_size", "bincount", "nonzero",
      "_assert_async")  # fmt: skip
def creation(call: Call) -> list[Value]:
    """New tensors, and numbers read out of tensors, depend on no parameter axis.

    A number read from a tracked tensor decides control flow or sizes; which index it came from cannot be followed, so
    the tensor is frozen.
    """
    if call.name in {"_local_scalar_dense", "item", "is_nonzero", "equal", "bincount", "nonzero"}:
        call.facts.freeze_values(call.values(), "its numbers are read by Python")
    return [Value(shape) for shape in call.outputs]


@rule("tril", "triu")
def triangle(call: Call) -> list[Value]:
    """Zeroing by position over the last two axes: these may not shrink."""
    value = call.args[0]
    for axis in (value.ndim - 2, value.ndim - 1):
        block = value.block_at(axis)
        if block is not None:
            call.facts.freeze(block.atoms, f"{call.name} depends on the position along axis {axis}")
    return [value]
