"""Views, cuts, joins, indices, writes and space by hand: where atoms go."""

from dataclasses import replace

import numpy as np
import pytest
from graph.bench import Bench, blocks, zeros

from deploy_prune.graph.values import Value


@pytest.fixture
def bench():
    return Bench()


def test_glu_ties_its_halves(bench):
    out = bench.run("glu", bench.value((1, 4, 2), 1), 1, outputs=[(1, 2, 2)])
    assert bench.pairs == {(0, 2), (1, 3)} and blocks(out) == {(1,): [0, 1]} and zeros(out) == [True]


def test_every_second_index_goes_in_pairs(bench):
    x = bench.value((1, 6), 1)
    even = bench.run("slice", x, 1, 0, None, 2, outputs=[(1, 3)])
    assert blocks(even) == {(1,): [0, 2, 4]} and bench.pairs == {(0, 1), (2, 3), (4, 5)} and not bench.frozen
    bench.run("slice", bench.value((1, 5), 1), 1, 0, None, 2, outputs=[(1, 3)])
    assert bench.frozen == {6, 7, 8, 9, 10}


@pytest.mark.parametrize(("index", "frozen"), [(1, {0, 1}), (-1, {4}), (-2, {3, 4})])
def test_select_counts_from_one_end(bench, index, frozen):
    assert not bench.run("select", bench.value((2, 5), 1), 1, index, outputs=[(2,)]).tracked
    assert bench.frozen == frozen


def test_select_of_a_joint_axis_keeps_its_extent(bench):
    out = bench.run("select", bench.value((2, 3, 4), (1, 2)), 1, 2, outputs=[(2, 4)])
    assert blocks(out) == {(1,): [8, 9, 10, 11]} and bench.boxes[0][1] == {0} and not bench.frozen


def test_unbind_of_a_joint_axis_keeps_its_extent(bench):
    first, second = bench.run("unbind", bench.value((2, 3), (0, 1)), 0, outputs=[(3,), (3,)])
    assert blocks(first) == {(0,): [0, 1, 2]} and blocks(second) == {(0,): [3, 4, 5]} and bench.boxes[0][1] == {0}


@pytest.mark.parametrize(
    ("shift", "order", "frozen"), [(1, [3, 0, 1, 2], {3}), (-1, [1, 2, 3, 0], {0}), (4, [0, 1, 2, 3], {0, 1, 2, 3})]
)
def test_a_roll_keeps_what_it_carries_over_the_end(bench, shift, order, frozen):
    out = bench.run("roll", bench.value((1, 4), 1), [shift], [1], outputs=[(1, 4)])
    assert blocks(out) == {(1,): order} and bench.frozen == frozen


def test_flip_turns_the_atoms(bench):
    assert blocks(bench.run("flip", bench.value((1, 3), 1), [1], outputs=[(1, 3)])) == {(1,): [2, 1, 0]}
    assert not bench.frozen


def test_turns_and_diagonals_leave_other_axes(bench):
    assert blocks(bench.run("rot90", bench.value((2, 3, 4), 0), 1, [1, 2], outputs=[(2, 4, 3)])) == {(0,): [0, 1]}
    assert blocks(bench.run("diagonal", bench.value((2, 3, 3), 0), 0, 1, 2, outputs=[(2, 3)])) == {(0,): [2, 3]}
    bench.run("rot90", bench.value((2, 3, 4), 1), 1, [1, 2], outputs=[(2, 4, 3)])
    assert bench.frozen == {4, 5, 6}


def test_windows_keep_the_axis_that_they_slide_along(bench):
    out = bench.run("unfold", bench.value((2, 6), 0, 1), 1, 3, 1, outputs=[(2, 4, 3)])
    assert blocks(out) == {(0,): [0, 1]} and bench.frozen == {2, 3, 4, 5, 6, 7}


def test_im2col_repeats_channels_and_col2im_takes_them_back(bench):
    rows = bench.run("im2col", bench.value((1, 2, 4, 4), 1), [2, 2], outputs=[(1, 8, 9)])
    assert blocks(rows) == {(1,): [0] * 4 + [1] * 4}
    image = bench.run("col2im", bench.value((1, 8, 9), 1), [4, 4], [2, 2], outputs=[(1, 2, 4, 4)])
    assert blocks(image) == {(1,): [2, 6]} and {(2, 3), (2, 5), (6, 9)} <= bench.pairs


def test_two_blocks_that_merge_share_cells(bench):
    x = bench.value((2, 5, 3), 0, 2)  # heads 0, 1 and inner 2, 3, 4 of nobody's parameter
    x = Value(x.shape, (x.blocks[0], bench.value((2, 5, 3), 2).blocks[0]))  # inner 5, 6, 7
    out = bench.run("view", bench.run("permute", x, [1, 0, 2], outputs=[(5, 2, 3)]), [5, 6], outputs=[(5, 6)])
    assert blocks(out) == {(1,): [8, 9, 10, 11, 12, 13]}
    assert {(0, 14), (1, 15), (5, 16), (6, 17), (7, 18)} == bench.pairs
    assert bench.projections[14] == [8, 9, 10] and bench.projections[16] == [8, 11]


def test_a_kernel_laid_flat_keeps_its_extent(bench):
    weight = bench.facts.parameter("w", (4, 3, 2))  # 0..3, 4..6, 7, 8
    out = bench.run("view", weight, [4, 6], outputs=[(4, 6)])
    assert blocks(out) == {(0,): [0, 1, 2, 3], (1,): [4, 4, 5, 5, 6, 6]} and bench.frozen == {7, 8}


def test_a_view_of_another_size_freezes(bench):
    assert not bench.run("view", bench.value((2, 4), 1), "int8", outputs=[(2, 16)]).tracked
    assert bench.frozen == {0, 1, 2, 3}


def test_repeats_end_to_end_and_in_place(bench):
    assert blocks(bench.run("repeat", bench.value((2, 2), 1), [1, 2], outputs=[(2, 4)])) == {(1,): [0, 1, 0, 1]}
    out = bench.run("repeat_interleave", bench.value((2, 2), 1), 2, 1, outputs=[(2, 4)])
    assert blocks(out) == {(1,): [2, 2, 3, 3]}


def test_joint_pieces_join_along_one_axis(bench):
    a, b = bench.value((1, 2, 2), (1, 2)), bench.value((1, 2, 1), 1)  # 0..3 and 4, 5: b's only block is another axis
    out = bench.run("cat", [a, bench.value((1, 2, 1), (1, 2))], 2, outputs=[(1, 2, 3)])
    assert blocks(out) == {(1, 2): [[0, 1, 6], [2, 3, 7]]} and bench.boxes[0][1] == set() and b.tracked
    bench.run("cat", [a, b], 2, outputs=[(1, 2, 3)])
    assert bench.frozen >= {0, 1, 2, 3, 4, 5} and "is joined with pieces split otherwise" in bench.reasons


def test_a_shared_piece_joins_every_head(bench):
    own, shared = bench.value((1, 2, 2), (1, 2)), bench.value((1, 2, 1), zero=False)
    out = bench.run("cat", [own, shared], 2, outputs=[(1, 2, 3)])
    assert blocks(out) == {(1, 2): [[0, 1, 4], [2, 3, 4]]} and bench.frozen == {4} and bench.boxes[0][1] == {0}


def test_stacked_pieces_meet(bench):
    a, b = bench.value((2, 3), 1), bench.value((2, 3), 1, zero=False)
    out = bench.run("stack", [a, b], 1, outputs=[(2, 2, 3)])
    assert blocks(out) == {(2,): [0, 1, 2]} and bench.pairs == {(0, 3), (1, 4), (2, 5)} and zeros(out) == [False]


@pytest.mark.parametrize(("name", "args"), [
    ("index_select", (1, Value((2,)))), ("index", ([None, Value((2,))],)), ("_unsafe_index", ([None, Value((2,))],)),
])  # fmt: skip
def test_indexed_axes_stay_and_others_pass(bench, name, args):
    x = bench.value((3, 4, 5), 1, 2)
    assert blocks(bench.run(name, x, *args, outputs=[(3, 2, 5)])) == {(2,): [4, 5, 6, 7, 8]}
    assert bench.frozen == {0, 1, 2, 3}


def test_a_table_read_by_a_buffer_keeps_rows_and_buffer(bench):
    table, index = bench.facts.parameter("t", (4, 2)), bench.facts.parameter("i", (3,))  # 0..3, 4, 5; 6..8
    out = bench.run("index", table, [index], outputs=[(3, 2)])
    assert blocks(out) == {(1,): [4, 5]} and bench.frozen == {0, 1, 2, 3, 6, 7, 8}


def test_a_buffer_of_positions_shrinks_with_what_it_points_into(bench):
    x, order = bench.value((2, 3), 1), bench.facts.parameter("order", (4,))  # 0, 1, 2; 3..6
    order = replace(order, numbers=np.array([2, 0, 1, 2]))
    out = bench.run("index_select", x, 1, order, outputs=[(2, 4)])
    assert blocks(out) == {(1,): [2, 0, 1, 2]} and bench.pairs == {(2, 3), (0, 4), (1, 5), (2, 6)} and not bench.frozen
    (positions,) = bench.facts.positions
    assert positions.index.tolist() == [3, 4, 5, 6] and positions.source.tolist() == [0, 1, 2]
    assert blocks(bench.run("index", x, [None, order], outputs=[(2, 4)])) == {(1,): [2, 0, 1, 2]}


def test_gather_follows_an_index_of_the_same_channels(bench):
    x, index = bench.value((2, 5, 3), 2), bench.value((2, 4, 3), 2)
    assert blocks(bench.run("gather", x, 1, index, outputs=[(2, 4, 3)])) == {(2,): [0, 1, 2]}
    assert bench.pairs == {(0, 3), (1, 4), (2, 5)} and not bench.frozen
    bench.run("gather", bench.value((2, 5, 3), 2), 1, Value((2, 4, 3)), outputs=[(2, 4, 3)])
    assert bench.frozen == {6, 7, 8}


def test_embeddings_keep_their_vocabulary(bench):
    table = bench.facts.parameter("t", (4, 2))
    assert blocks(bench.run("embedding", table, Value((3, 5)), outputs=[(3, 5, 2)])) == {(2,): [4, 5]}
    out, *_ = bench.run("_embedding_bag", table, Value((6,)), Value((3,)), outputs=[(3, 2), (0,), (3,), (3,)])
    assert blocks(out) == {(1,): [4, 5]} and bench.frozen == {0, 1, 2, 3}


def test_written_rows_meet_along_the_other_axes(bench):
    x, source = bench.value((5, 3), 0, 1), bench.value((2, 3), 1)  # 0..4, 5..7; 8..10
    out = bench.run("index_put", x, [Value((2,))], source, outputs=[(5, 3)])
    assert bench.frozen == {0, 1, 2, 3, 4} and bench.pairs == {(5, 8), (6, 9), (7, 10)} and zeros(out) == [False, False]


@pytest.mark.parametrize("name", ["index_add", "index_copy", "scatter_add"])
def test_rows_added_by_number_meet_along_the_other_axes(bench, name):
    x, source = bench.value((5, 3), 1), bench.value((5, 3), 1)
    index = bench.value((5, 3), 1) if name == "scatter_add" else Value((5,))
    assert zeros(bench.run(name, x, 0, index, source, outputs=[(5, 3)])) == [False]
    assert bench.pairs >= {(0, 3), (1, 4), (2, 5)} and not bench.frozen


def test_a_source_of_nobodys_channels_freezes_what_it_is_written_to(bench):
    bench.run("index_put", bench.value((5, 3), 1), [Value((2,))], Value((2, 3)), outputs=[(5, 3)])
    assert bench.frozen == {0, 1, 2}
    bench.run("masked_scatter", bench.value((5, 3), 1), Value((5, 3)), Value((7,)), outputs=[(5, 3)])
    assert bench.frozen == {0, 1, 2, 3, 4, 5}


def test_a_replaced_slice_meets_its_replacement(bench):
    x, source = bench.value((4, 3), 1), bench.value((3,), 0)
    bench.run("select_scatter", x, source, 0, 1, outputs=[(4, 3)])
    assert bench.pairs == {(0, 3), (1, 4), (2, 5)}
    other = Bench()
    other.run("slice_scatter", other.value((4, 3), 0, 1), other.value((2, 3), 1), 0, 0, 2, 1, outputs=[(4, 3)])
    assert other.frozen == {0, 1, 2, 3} and other.pairs == {(4, 7), (5, 8), (6, 9)}


def test_space_keeps_its_extent_and_channels_pass(bench):
    x = bench.value((1, 3, 4, 4), 1, 3)
    out = bench.run("avg_pool2d", x, [2, 2], outputs=[(1, 3, 2, 2)])
    assert blocks(out) == {(1,): [0, 1, 2]} and bench.frozen == {3, 4, 5, 6}
    bench.run(
        "grid_sampler_2d",
        bench.value((1, 3, 4, 4), 1),
        bench.value((1, 4, 4, 2), 3),
        0,
        0,
        False,
        outputs=[(1, 3, 4, 4)],
    )
    assert {10, 11} <= bench.frozen


def test_unpooling_meets_its_indices(bench):
    x, indices = bench.value((1, 3, 2, 2), 1), bench.value((1, 3, 2, 2), 1)
    out = bench.run("max_unpool2d", x, indices, [4, 4], outputs=[(1, 3, 4, 4)])
    assert blocks(out) == {(1,): [0, 1, 2]} and bench.pairs == {(0, 3), (1, 4), (2, 5)}


def test_padding_a_joint_axis_stays_with_its_row(bench):
    out = bench.run("constant_pad_nd", bench.value((1, 2, 2), (1, 2)), [0, 1], 1.0, outputs=[(1, 2, 3)])
    assert blocks(out) == {(1, 2): [[0, 1, 4], [2, 3, 5]]} and bench.projections == {4: [0, 1], 5: [2, 3]}


def test_regions_keep_channels_and_position_sensitive_ones_go_in_blocks(bench):
    out = bench.run(
        "torchvision.roi_align", bench.value((1, 3, 8, 8), 1), Value((5, 5)), 1.0, 2, 2, 2, True, outputs=[(5, 3, 2, 2)]
    )
    assert blocks(out) == {(1,): [0, 1, 2]}
    out, _ = bench.run("torchvision.ps_roi_align", bench.value((1, 8, 8, 8), 1), Value((5, 5)), 1.0, 2, 2, 2,
                       outputs=[(5, 2, 2, 2), (5, 2, 2, 2)])  # fmt: skip
    assert blocks(out) == {(1,): [3, 7]} and {(3, 4), (3, 6), (7, 10)} <= bench.pairs


def test_deformable_convolution_is_one_steered_by_frozen_offsets(bench):
    x, weight, offset = (
        bench.value((1, 2, 4, 4), 1),
        bench.facts.parameter("w", (3, 2, 1, 1)),
        bench.value((1, 2, 4, 4), 1),
    )
    args = (x, weight, offset, Value((1,)), Value((1,)), 1, 1, 0, 0, 1, 1, 1, 1, False)
    out = bench.run("torchvision.deform_conv2d", *args, outputs=[(1, 3, 4, 4)])
    assert {(0, 5), (1, 6)} <= bench.pairs and bench.frozen >= {7, 8} and (1,) in blocks(out)


@pytest.mark.parametrize("name", ["conv2d", "mkldnn_convolution"])
def test_other_forms_of_convolution(bench, name):
    x, weight = bench.value((1, 4, 5, 5), 1), bench.facts.parameter("w", (6, 2, 1, 1))  # 0..3; 4..9, 10, 11
    out = bench.run(name, x, weight, None, outputs=[(1, 6, 5, 5)])
    assert bench.pairs == {(0, 10), (1, 11), (2, 10), (3, 11)} and blocks(out) == {(1,): list(np.arange(4, 10))}


def test_a_convolution_with_a_kernel_of_nobodys_channels_frees_nothing(bench):
    bias = bench.facts.parameter("b", (4,))
    args = ([1], [0], [1], False, [0])
    bench.run("convolution", bench.value((1, 2, 5), 1), Value((4, 2, 1)), bias, *args, 1, outputs=[(1, 4, 5)])
    assert bench.frozen == {0, 1, 2, 3, 4, 5}


def test_offset_groups_of_a_deformable_convolution_lose_equally_many(bench):
    x, weight = bench.value((1, 4, 4, 4), 1), bench.facts.parameter("w", (3, 4, 1, 1))
    args = (x, weight, Value((1, 4, 4, 4)), Value((1,)), Value((1,)), 1, 1, 0, 0, 1, 1, 1, 2, False)
    bench.run("torchvision.deform_conv2d", *args, outputs=[(1, 3, 4, 4)])
    assert bench.boxes == [([[0, 1], [2, 3]], {0})] and not bench.frozen
