"""Attention, products and recurrent layers by hand."""

import pytest
from graph.bench import Bench, blocks, zeros

from deploy_prune.graph.values import Value


@pytest.fixture
def bench():
    return Bench()


ATTENTION = "_scaled_dot_product_flash_attention_for_cpu"


def test_attention_ties_queries_to_keys_per_head_and_heads_to_values(bench):
    q, k, v = (bench.value((1, 2, 5, 2), (1, 3)) for _ in range(3))  # atoms 0..3, 4..7, 8..11
    out, lse = bench.run(ATTENTION, q, k, v, outputs=[(1, 2, 5, 2), (1, 2, 5)])
    assert blocks(out) == {(1, 3): [[8, 9], [10, 11]]} and zeros(out) == [True] and not lse.tracked
    assert {(0, 4), (1, 5), (2, 6), (3, 7)} <= bench.pairs
    heads = bench.projections
    assert sorted(heads.values()) == [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9], [10, 11]]
    assert not bench.frozen


def test_attention_with_grouped_queries_repeats_the_heads_of_keys_and_values(bench):
    q = bench.value((1, 4, 5, 1), 1)  # atoms 0..3
    k, v = bench.value((1, 2, 5, 1), 1), bench.value((1, 2, 5, 1), 1)  # 4, 5 and 6, 7
    out, _ = bench.run(ATTENTION, q, k, v, outputs=[(1, 4, 5, 1), (1, 4, 5)])
    assert {(0, 4), (1, 4), (2, 5), (3, 5)} <= bench.pairs
    assert {(0, 6), (1, 6), (2, 7), (3, 7)} <= bench.pairs
    assert blocks(out)[1,] in ([0, 1, 2, 3], [6, 6, 7, 7])


def test_attention_masks_meet_the_heads_and_tracked_tokens_are_frozen(bench):
    q = bench.value((1, 2, 3, 4), 1)  # heads 0, 1
    k, v = bench.value((1, 2, 3, 4), 1, 2), Value((1, 2, 3, 4))  # heads 2, 3, tokens 4..6
    mask = bench.value((2, 3, 3), 0)  # heads 7, 8
    bench.run(ATTENTION, q, k, v, 0.0, False, mask, outputs=[(1, 2, 3, 4), (1, 2, 3)])
    assert {(0, 7), (1, 8)} <= bench.pairs
    assert {4, 5, 6} <= bench.frozen


def test_tracked_tokens_are_frozen_by_the_softmax(bench):
    k = bench.value((1, 2, 3, 4), 2)
    bench.run(ATTENTION, Value((1, 2, 5, 4)), k, Value((1, 2, 3, 4)), outputs=[(1, 2, 5, 4), (1, 2, 5)])
    assert bench.frozen == {0, 1, 2} and "softmax over its axis depends on its other indices" in bench.reasons


def test_keys_without_zeros_cannot_lose_inner_channels(bench):
    q, k = bench.value((1, 5, 3), 2, zero=False), bench.value((1, 3, 5), 1, zero=False)
    bench.run("bmm", q, k, outputs=[(1, 5, 5)])
    assert bench.frozen == {0, 1, 2, 3, 4, 5}
    assert bench.reasons == {"is summed over although removed channels are not zero there"}
    other = Bench()
    other.run("bmm", other.value((1, 5, 3), 2, zero=False), other.value((1, 3, 5), 1), outputs=[(1, 5, 5)])
    assert not other.frozen and other.pairs == {(0, 3), (1, 4), (2, 5)}


def test_linear_in_one_operator_ties_inputs_and_bias(bench):
    x, weight, bias = bench.value((4, 2), 1), bench.facts.parameter("w", (3, 2)), bench.facts.parameter("b", (3,))
    out = bench.run("linear", x, weight, bias, outputs=[(4, 3)])  # x 0, 1; out 2, 3, 4; in 5, 6; bias 7, 8, 9
    assert bench.pairs == {(0, 5), (1, 6), (2, 7), (3, 8), (4, 9)}
    assert blocks(out) == {(1,): [2, 3, 4]} and zeros(out) == [True]


def test_addbmm_sums_over_the_batch(bench):
    left, right = bench.value((2, 3, 4), 0, 2), bench.value((2, 4, 5), 0, 1)  # 0, 1, 2..5 and 6, 7, 8..11
    bench.run("addbmm", Value((3, 5)), left, right, outputs=[(3, 5)])
    assert bench.pairs >= {(2, 8), (5, 11), (0, 6), (1, 7)}


def test_matmul_of_other_axes_freezes(bench):
    bench.run("matmul", bench.value((2, 3), 1), bench.value((3,), 0), outputs=[(2,)])
    assert bench.frozen == {0, 1, 2, 3, 4, 5}


def test_bilinear_ties_both_inputs_to_the_weight(bench):
    x, y = bench.value((6, 2), 1), bench.value((6, 3), 1)  # 0, 1 and 2, 3, 4
    weight = bench.facts.parameter("w", (4, 2, 3))  # 5..8, 9, 10, 11..13
    out = bench.run("_trilinear", x, weight, y, [1, 3], [0], [1, 2], [2, 3], outputs=[(6, 4)])
    assert bench.pairs == {(0, 9), (1, 10), (2, 11), (3, 12), (4, 13)} and blocks(out) == {(1,): [5, 6, 7, 8]}


def test_experts_stay_and_their_channels_go_together(bench):
    rows = bench.value((8, 8), 1)  # 0..7
    weights = bench.facts.parameter("w", (3, 8, 4))  # experts 8..10, in 11..18, out 19..22
    out = bench.run("_grouped_mm", rows, weights, Value((3,)), outputs=[(8, 4)])
    assert bench.frozen == {8, 9, 10} and blocks(out) == {(1,): [19, 20, 21, 22]}
    # Strides of 16 bytes: eight or four at a time.
    assert bench.pairs >= {(0, 11), (7, 18), (11, 12), (11, 18), (19, 22)}


def test_an_lstm_layer_has_four_gates_of_one_hidden_axis(bench):
    x = bench.value((5, 1, 2), 2)  # 0, 1
    w_ih, w_hh = bench.facts.parameter("ih", (12, 2)), bench.facts.parameter("hh", (12, 3))
    b_ih, b_hh = bench.facts.parameter("bi", (12,)), bench.facts.parameter("bh", (12,))
    # w_ih 2..13 and 14, 15; w_hh 16..27 and 28..30; biases 31..42 and 43..54.
    args = (x, w_ih, w_hh, b_ih, b_hh, Value((1, 1, 1)), Value((1, 1, 1)), False, [], 2)
    out, hidden, cell, _ = bench.run("mkldnn_rnn_layer", *args, outputs=[(5, 1, 3), (1, 1, 3), (1, 1, 3), (9,)])
    assert {(0, 14), (1, 15)} <= bench.pairs
    assert {
        (16, 19),
        (16, 22),
        (16, 25),
        (18, 27),
        (2, 16),
        (13, 27),
        (16, 31),
        (27, 54),
        (16, 28),
        (18, 30),
    } <= bench.pairs
    assert blocks(out) == {(2,): [16, 17, 18]} == blocks(hidden) == blocks(cell)


@pytest.mark.parametrize(("name", "gates"), [("gru", 3), ("rnn_tanh", 1), ("rnn_relu", 1)])
def test_a_bidirectional_network_joins_both_directions(bench, name, gates):
    x = bench.value((5, 1, 2), 2)
    params = [bench.facts.parameter(f"{d}{k}", (gates * 2, 2)) for d in "fb" for k in range(2)]
    out, hidden = bench.run(
        name, x, Value((2, 1, 1)), params, False, 1, 0.0, False, True, False, outputs=[(5, 1, 4), (2, 1, 2)]
    )
    forward, backward = params[1].block_at(0).atoms[:2].tolist(), params[3].block_at(0).atoms[:2].tolist()
    assert blocks(out) == {(2,): forward + backward} and blocks(hidden) == {(2,): forward}
    assert set(zip(forward, backward, strict=True)) <= bench.pairs


def test_a_projected_lstm_passes_its_projection_on(bench):
    x = Value((5, 1, 2))
    shapes = [(8, 2), (8, 3), (3, 2)]  # four gates of 2, projected to 3
    params = [bench.facts.parameter(str(k), s) for k, s in enumerate(shapes)]
    states = [bench.value((1, 1, 3), 2), bench.value((1, 1, 2), 2)]
    out, hidden, cell = bench.run(
        "lstm", x, states, params, False, 1, 0.0, False, False, False, outputs=[(5, 1, 3), (1, 1, 3), (1, 1, 2)]
    )
    projection = params[2].block_at(0).atoms.tolist()
    assert blocks(out) == {(2,): projection} == blocks(hidden)
    assert blocks(cell) == {(2,): params[1].block_at(0).atoms[:2].tolist()}
    assert set(zip(sorted(projection), states[0].block_at(2).atoms.tolist(), strict=True)) <= bench.pairs


def test_a_library_network_reads_its_gates_from_the_mode(bench):
    params = [bench.facts.parameter(str(k), (6, 2)) for k in range(2)]
    args = (Value((5, 1, 2)), params, 2, None, Value((1, 1, 1)), None, 3, 2, 0, 1, False, 0.0, False, False, [], None)
    out = bench.run("_cudnn_rnn", *args, outputs=[(5, 1, 2), (1, 1, 2), (0,), (0,), (0,)])[0]
    first = params[1].block_at(0).atoms.tolist()
    assert blocks(out) == {(2,): first[:2]} and {(first[0], first[2]), (first[0], first[4])} <= bench.pairs


def test_a_state_from_elsewhere_freezes_the_hidden_axis(bench):
    params = [bench.facts.parameter(str(k), (2, 2)) for k in range(2)]
    bench.run(
        "rnn_tanh", Value((5, 1, 2)), Value((1, 1, 2)), params, False, 1, 0.0, False, False, False,
        outputs=[(5, 1, 2), (1, 1, 2)],
    )  # fmt: skip
    assert "starts from a state that is no parameter's" in bench.reasons


@pytest.mark.parametrize(("name", "gates", "outputs"), [
    ("_thnn_fused_lstm_cell", 4, [(1, 2), (1, 2), (1, 8)]), ("_thnn_fused_gru_cell", 3, [(1, 2), (1, 10)]),
])  # fmt: skip
def test_fused_cells_tie_their_gates_and_the_state(bench, name, gates, outputs):
    ours, theirs = bench.value((1, 2 * gates), 1), bench.value((1, 2 * gates), 1)
    state = bench.value((1, 2), 1)
    out = bench.run(name, ours, theirs, state, outputs=outputs)[0]
    assert blocks(out) == {(1,): [0, 1]}
    assert {(0, 2), (1, 3), (0, 2 * gates), (0, 4 * gates), (1, 4 * gates + 1)} <= bench.pairs


def test_distances_need_zeros_on_both_sides(bench):
    x, codes = bench.value((1, 6, 2), 2), bench.value((1, 4, 2), 1, 2)  # 0, 1; codes 2..5, 6, 7
    out = bench.run("_cdist_forward", x, codes, 2.0, None, outputs=[(1, 6, 4)])
    assert bench.pairs == {(0, 6), (1, 7)} and blocks(out) == {(2,): [2, 3, 4, 5]} and not bench.frozen
    other = Bench()
    other.run(
        "_cdist_forward",
        other.value((1, 6, 2), 2),
        other.value((1, 4, 2), 2, zero=False),
        2.0,
        None,
        outputs=[(1, 6, 4)],
    )
    assert other.frozen == {2, 3}


def heads_against(bench, zero=(True, True)):
    """Inner channels of two heads, 0..3, against those of two others, 4..7: (heads, 2, 2)."""
    q, k = bench.value((2, 2, 5), (0, 1), zero=zero[0]), bench.value((2, 5, 2), (0, 2), zero=zero[1])
    return bench.run("bmm", q, k, outputs=[(2, 2, 2)])


def test_channels_against_channels_of_a_head_cross_and_share_the_heads(bench):
    out = heads_against(bench)
    assert blocks(out) == {(0, 1): [[0, 1], [2, 3]], (0, 2): [[4, 5], [6, 7]]} and zeros(out) == [True, True]
    heads = bench.projections
    assert {tuple(map(tuple, (heads[a], heads[b]))) for a, b in bench.pairs} == {((0, 1), (4, 5)), ((2, 3), (6, 7))}
    assert not bench.boxes and not bench.frozen
    assert zeros(heads_against(Bench(), zero=(False, True))) == [False, True]


def test_a_softmax_over_one_of_two_crossing_axes_leaves_the_other_free(bench):
    out = bench.run("_softmax", heads_against(bench), 2, False, outputs=[(2, 2, 2)])
    assert blocks(out) == {(0, 1): [[0, 1], [2, 3]], (0, 2): [[4, 5], [6, 7]]} and zeros(out) == [False, False]
    assert {(4, 5), (6, 7)} <= bench.pairs and not {(0, 1), (2, 3)} & bench.pairs


def test_a_contraction_takes_one_of_two_crossing_blocks_away(bench):
    weights, v = heads_against(bench, zero=(True, False)), bench.value((2, 2, 5), (0, 1))
    v_atoms = v.blocks[0].atoms.ravel().tolist()
    out = bench.run("bmm", weights, v, outputs=[(2, 2, 5)])
    assert blocks(out) == {(0, 1): [[0, 1], [2, 3]]} and zeros(out) == [True]
    assert set(zip([4, 5, 6, 7], v_atoms, strict=True)) <= bench.pairs


def test_an_operand_without_channels_freezes_one_of_two_crossing_blocks(bench):
    out = bench.run("add", heads_against(bench), bench.value((2, 2, 2), (0, 2)), outputs=[(2, 2, 2)])
    assert blocks(out) == {(0, 1): [[0, 1], [2, 3]], (0, 2): [[4, 5], [6, 7]]}
    assert ([[0, 1], [2, 3]], {1}) in bench.boxes and zeros(out) == [False, True]


def test_crossing_blocks_are_viewed_apart_until_their_axes_merge(bench):
    product = heads_against(bench)
    apart = bench.run("view", product, [1, 2, 2, 2], outputs=[(1, 2, 2, 2)])
    assert blocks(apart) == {(1, 2): [[0, 1], [2, 3]], (1, 3): [[4, 5], [6, 7]]} and not bench.boxes
    count = bench.facts.count
    (cells,) = bench.run("view", product, [2, 4], outputs=[(2, 4)]).blocks
    assert cells.axes == (0, 1) and cells.zero
    assert (cells.atoms - count).tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_a_rule_for_single_blocks_gets_crossing_ones_as_cells(bench):
    product = heads_against(bench)
    count = bench.facts.count
    picked = bench.run("select", product, 1, 0, outputs=[(2, 2)])
    assert blocks(picked) == {(0, 1): [[count, count + 1], [count + 4, count + 5]]}
    listed = bench.run("cat", [product, product], 0, outputs=[(4, 2, 2)])
    assert [b.axes for b in listed.blocks] == [(0, 1, 2)]


def test_a_product_of_too_many_cells_freezes(bench):
    a, b = bench.value((2, 1024, 1), (0, 1)), bench.value((2, 1, 1024), (0, 2))
    product = bench.run("mul", a, b, outputs=[(2, 1024, 1024)])
    assert not bench.frozen
    merged = bench.run("view", product, [2, 1024 * 1024], outputs=[(2, 1024 * 1024)])
    assert bench.frozen == set(range(2048, 4096)) and merged.block_at(1).atoms.max() == 2047


def test_a_bare_axis_of_a_joint_block_keeps_its_size(bench):
    gate, x = bench.value((1, 2, 3), (1, 2), zero=False), bench.value((1, 2, 3), 2)
    out = bench.run("mul", gate, x, outputs=[(1, 2, 3)])
    assert blocks(out) == {(1, 2): [[0, 1, 2], [3, 4, 5]]} and zeros(out) == [True] and not bench.frozen
    assert ([[0, 1, 2], [3, 4, 5]], {0}) in bench.boxes
