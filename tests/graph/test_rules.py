"""Rules by hand: what a single operator says about the atoms that enter it."""

import numpy as np
import pytest

from deploy_prune.graph.facts import Facts
from deploy_prune.graph.rules.table import RULES, Call, rule, split_segments
from deploy_prune.graph.values import Block, Value


@pytest.fixture
def facts():
    return Facts()


def channels(facts, shape, axis=1):
    return Value(shape, (Block((axis,), facts.fresh(shape[axis])),))


def apply(facts, name, *args, outputs):
    return RULES[name](Call(facts, name, args, outputs))


def pairs(facts):
    return {(int(a), int(b)) for left, right in facts.unified for a, b in zip(left, right, strict=True)}


def test_segments_of_equal_product():
    assert split_segments([2, 12, 5], [2, 3, 4, 5]) == [([0], [0]), ([1], [1, 2]), ([2], [3])]
    assert split_segments([2, 1, 6], [12]) == [([0, 2], [0])]


def test_convolution_ties_inputs_and_bias_and_freezes_its_kernel(facts):
    data = channels(facts, (1, 2, 8, 8))  # atoms 0, 1
    weight, bias = facts.parameter("w", (4, 2, 3, 3)), facts.parameter("b", (4,))
    (out,) = apply(facts, "convolution", data, weight, bias, [1], [1], [1], False, [0], 1, outputs=((1, 4, 8, 8),))
    assert pairs(facts) == {(0, 6), (1, 7), (2, 14), (3, 15), (4, 16), (5, 17)}
    assert out.block_at(1).atoms.tolist() == [2, 3, 4, 5]
    assert [f.reason for f in facts.frozen] == ["is the extent of a convolution kernel"] * 2


def test_an_axis_along_which_a_kernel_does_not_reach_stays_free(facts):
    data = Value((2, 3, 4), (Block((2,), facts.fresh(4), zeros=True),))  # levels of features, mixed at each channel
    weight = facts.parameter("w", (5, 3, 1))
    (out,) = apply(facts, "convolution", data, weight, None, [1], [0], [1], False, [0], 1, outputs=((2, 5, 4),))
    assert {b.axes: b.atoms.tolist() for b in out.blocks} == {(1,): [4, 5, 6, 7, 8], (2,): [0, 1, 2, 3]}
    assert all(b.zero for b in out.blocks) and {f.atoms.min() for f in facts.frozen} == {9}
    for strides, padding, kernel in (([2], [0], 1), ([1], [1], 1), ([1], [1], 3)):
        other, wide = Facts(), Value((5, 3, kernel))
        data = Value((2, 3, 4), (Block((2,), other.fresh(4)),))
        apply(other, "convolution", data, wide, None, strides, padding, [1], False, [0], 1, outputs=((2, 5, 4),))
        assert [f.reason for f in other.frozen] == ["lies along the space of a convolution"]


def test_depthwise_with_multiplier_ties_each_input_to_its_outputs(facts):
    data = channels(facts, (1, 2, 8, 8))
    weight = facts.parameter("w", (4, 1, 1, 1))
    apply(facts, "convolution", data, weight, None, [1], [0], [1], False, [0], 2, outputs=((1, 4, 8, 8),))
    assert pairs(facts) == {(0, 2), (0, 3), (1, 4), (1, 5)}


def test_grouped_convolution_ties_the_same_input_of_every_group(facts):
    data = channels(facts, (1, 4, 8, 8))  # groups (0, 1) and (2, 3)
    weight = facts.parameter("w", (6, 2, 1, 1))  # outputs 4..9, inputs per group 10, 11
    apply(facts, "convolution", data, weight, None, [1], [0], [1], False, [0], 2, outputs=((1, 6, 8, 8),))
    assert pairs(facts) == {(0, 10), (1, 11), (2, 10), (3, 11)}
    assert facts.boxes[0].atoms.tolist() == [[4, 5, 6], [7, 8, 9]] and facts.boxes[0].fixed == {0}


def test_untracked_channels_freeze_the_weight_that_meets_them(facts):
    weight = facts.parameter("w", (4, 3, 1, 1))
    apply(
        facts, "convolution", Value((1, 3, 8, 8)), weight, None, [1], [0], [1], False, [0], 1, outputs=((1, 4, 8, 8),)
    )
    assert facts.frozen[0].atoms.tolist() == [4, 5, 6]


def test_flatten_repeats_and_unflatten_splits(facts):
    data = channels(facts, (1, 2, 3, 1))
    (flat,) = apply(facts, "view", data, [1, 6], outputs=((1, 6),))
    assert flat.block_at(1).atoms.tolist() == [0, 0, 0, 1, 1, 1]
    (back,) = apply(facts, "view", flat, [1, 2, 3], outputs=((1, 2, 3),))
    assert back.block_at(1).atoms.tolist() == [0, 1] and back.block_at(2) is None
    assert not facts.boxes


def test_splitting_an_axis_makes_a_box(facts):
    data = channels(facts, (1, 6))
    (split,) = apply(facts, "view", data, [1, 2, 3], outputs=((1, 2, 3),))
    assert split.blocks[0].axes == (1, 2)
    assert facts.boxes[0].atoms.tolist() == [[0, 1, 2], [3, 4, 5]]


def test_chunk_keeps_its_number_of_pieces(facts):
    data = channels(facts, (1, 4, 2))
    first, second = apply(facts, "split", data, 2, 1, outputs=((1, 2, 2), (1, 2, 2)))
    assert (first.block_at(1).atoms.tolist(), second.block_at(1).atoms.tolist()) == ([0, 1], [2, 3])
    assert facts.boxes[0].atoms.tolist() == [[0, 1], [2, 3]] and facts.boxes[0].fixed == {0}


def test_an_uneven_chunk_loses_the_same_index_of_every_piece(facts):
    data = channels(facts, (1, 8))
    first, second, last = apply(facts, "split", data, 3, 1, outputs=((1, 3), (1, 3), (1, 2)))
    assert [v.block_at(1).atoms.tolist() for v in (first, second, last)] == [[0, 1, 2], [3, 4, 5], [6, 7]]
    assert facts.boxes[0].atoms.tolist() == [[0, 1], [3, 4], [6, 7]] and facts.boxes[0].fixed == {0}
    assert [f.atoms.tolist() for f in facts.frozen] == [[2, 5]]
    assert facts.layouts[0].tolist() == list(range(8))


def test_cat_joins_and_gives_untracked_pieces_frozen_atoms(facts):
    a, bare = channels(facts, (1, 2, 4)), Value((1, 1, 4))
    (out,) = apply(facts, "cat", [a, bare], 1, outputs=((1, 3, 4),))
    assert out.block_at(1).atoms.tolist() == [0, 1, 2]
    assert facts.frozen[0].atoms.tolist() == [2]


def test_elementwise_broadcast_ties_only_equal_axes(facts):
    a, gate = channels(facts, (2, 3, 4)), channels(facts, (2, 3, 1))
    (out,) = apply(facts, "mul", a, gate, outputs=((2, 3, 4),))
    assert pairs(facts) == {(0, 3), (1, 4), (2, 5)} and out.block_at(1).atoms.tolist() == [0, 1, 2]


def test_elementwise_with_a_bare_axis_freezes(facts):
    a = channels(facts, (2, 3))
    apply(facts, "add", a, Value((3,)), outputs=((2, 3),))
    assert facts.frozen[0].atoms.tolist() == [0, 1, 2]
    assert "whose axis 1 is no parameter's" in facts.frozen[0].reason


def test_heads_are_projected_from_queries_and_keys(facts):
    q = Value((2, 5, 3), (Block((0, 2), facts.fresh((2, 3))),))  # (heads, tokens, d)
    k = Value((2, 3, 5), (Block((0, 1), facts.fresh((2, 3))),))
    (scores,) = apply(facts, "bmm", q, k, outputs=((2, 5, 5),))
    assert pairs(facts) >= {(0, 6), (5, 11)}
    assert scores.blocks[0].axes == (0,)
    assert facts.projections[0].rows.tolist() == [[0, 1, 2], [3, 4, 5]]


def test_softmax_over_channels_freezes_them_and_over_others_does_not(facts):
    a = channels(facts, (1, 3, 4))
    apply(facts, "_softmax", a, 2, False, outputs=((1, 3, 4),))
    assert not facts.frozen
    apply(facts, "_softmax", a, 1, False, outputs=((1, 3, 4),))
    assert facts.frozen[0].reason == "softmax over its axis depends on its other indices"


def test_group_norm_boxes_its_groups(facts):
    a, weight = channels(facts, (1, 6, 4)), facts.parameter("w", (6,))
    apply(facts, "native_group_norm", a, weight, None, 1, 6, 4, 3, 1e-5, outputs=((1, 6, 4), (1, 3), (1, 3)))
    assert facts.boxes[0].atoms.tolist() == [[0, 1], [2, 3], [4, 5]] and facts.boxes[0].fixed == {0}


def test_pixel_shuffle_removes_whole_rows_only(facts):
    a = channels(facts, (1, 8, 2, 2))
    (out,) = apply(facts, "pixel_shuffle", a, 2, outputs=((1, 2, 4, 4),))
    assert out.shape == (1, 2, 4, 4)
    assert any(b.atoms.shape == (2, 2, 2) and b.fixed == {1, 2} for b in facts.boxes)


def test_padding_of_an_axis_adds_frozen_atoms(facts):
    a = channels(facts, (1, 2, 3))
    (out,) = apply(facts, "constant_pad_nd", a, [0, 0, 1, 2], 0.0, outputs=((1, 5, 3),))
    assert out.block_at(1).atoms.tolist() == [2, 0, 1, 3, 4]
    assert [f.atoms.tolist() for f in facts.frozen] == [[2], [3, 4]]


def test_reductions_over_other_axes_pass_and_means_over_channels_freeze(facts):
    a = channels(facts, (2, 3, 4))
    (pooled,) = apply(facts, "mean", a, [2], False, outputs=((2, 3),))
    assert pooled.block_at(1).atoms.tolist() == [0, 1, 2] and not facts.frozen
    (kept,) = apply(facts, "sum", a, [2], True, outputs=((2, 3, 1),))
    assert kept.block_at(1).atoms.tolist() == [0, 1, 2]
    apply(facts, "mean", a, [1], False, outputs=((2, 4),))
    assert facts.frozen[0].reason == "mean over an axis depends on its other indices"


def test_a_second_rule_for_an_operator_is_refused():
    with pytest.raises(ValueError, match="operator view has two rules: view and other"):

        @rule("view")
        def other(call):
            return []


def test_atoms_follow_permutations(facts):
    joint = Value((2, 3, 4), (Block((1, 2), np.arange(12).reshape(3, 4)),))
    (out,) = apply(facts, "permute", joint, [2, 0, 1], outputs=((4, 2, 3),))
    assert out.blocks[0].axes == (0, 2)
    assert out.blocks[0].atoms.tolist() == np.arange(12).reshape(3, 4).T.tolist()


def test_a_mask_over_several_axes_freezes_and_integers_pass(facts):
    a = channels(facts, (2, 3, 4))
    (out,) = apply(facts, "index", a, [None, None, Value((5,))], outputs=((2, 3, 5),))
    assert out.block_at(1).atoms.tolist() == [0, 1, 2] and not facts.frozen
    (masked,) = apply(facts, "index", a, [Value((2, 3))], outputs=((5, 4),))
    assert not masked.tracked and facts.frozen[0].reason == "is picked by a mask over several axes"
