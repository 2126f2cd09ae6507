"""Element-wise operators, reductions and norms by hand: what keeps zeros, what mixes an axis."""

import numpy as np
import pytest
from graph.bench import Bench, blocks, zeros

from deploy_prune.graph.values import Value


@pytest.fixture
def bench():
    return Bench()


@pytest.mark.parametrize(("name", "args", "kept"), [
    ("relu", (), True), ("gelu", ("none",), True), ("tanh", (), True), ("sigmoid", (), False), ("exp", (), False),
    ("cos", (), False), ("pow", (2,), True), ("pow", (-1,), False), ("clamp", (-1, 1), True),
    ("clamp", (0.5, None), False),
    ("clamp_min", (1e-6,), False), ("clamp_max", (3.0,), True), ("hardtanh", (-1, 1), True), ("add", (0,), True),
    ("add", (1,), False), ("mul", (3,), True), ("div", (2,), True), ("fill", (0,), True), ("fill", (1,), False),
    ("zeros_like", (), True), ("ones_like", (), False), ("threshold", (0.1, 0), True), ("softplus", (), False),
])  # fmt: skip
def test_zeros_survive_what_maps_zero_to_zero(bench, name, args, kept):
    assert zeros(bench.run(name, bench.value((2, 3), 1), *args, outputs=[(2, 3)])) == [kept]


@pytest.mark.parametrize(("name", "first", "second", "kept"), [
    ("mul", True, False, True), ("mul", False, False, False), ("add", True, True, True), ("add", True, False, False),
    ("div", True, False, True), ("div", True, True, False), ("maximum", True, True, True), ("copy", False, True, True),
    ("copy", True, False, False),
])  # fmt: skip
def test_zeros_of_two_operands(bench, name, first, second, kept):
    a, b = bench.value((2, 3), 1, zero=first), bench.value((2, 3), 1, zero=second)
    assert zeros(bench.run(name, a, b, outputs=[(2, 3)])) == [kept]
    assert bench.pairs == {(0, 3), (1, 4), (2, 5)}


def test_a_sum_with_a_broadcast_number_keeps_no_zeros(bench):
    assert zeros(bench.run("add", bench.value((2, 3), 1), Value((2, 1)), outputs=[(2, 3)])) == [False]
    assert zeros(bench.run("masked_fill", bench.value((2, 3), 1), Value((2, 1)), 0, outputs=[(2, 3)])) == [True]
    assert zeros(bench.run("where", Value((2, 1)), bench.value((2, 3), 1), Value(()), outputs=[(2, 3)])) == [False]


@pytest.mark.parametrize(("low", "high", "kept"), [
    (-np.inf, np.inf, True), (-1.0, 0.0, True), (0.5, 2.0, False), (-2.0, -1.0, False), (None, 1.0, True),
])  # fmt: skip
def test_a_clamp_by_buffers_keeps_zeros_if_they_enclose_zero(bench, low, high, kept):
    bounds = [b if b is None else Value((), numbers=np.asarray(b)) for b in (low, high)]
    assert zeros(bench.run("clamp", bench.value((2, 3), 1), *bounds, outputs=[(2, 3)])) == [kept]
    assert zeros(bench.run("clamp", bench.value((2, 3), 1), Value(()), Value(()), outputs=[(2, 3)])) == [False]


def test_putting_zeros_in_places_keeps_zeros(bench):
    mask, nothing, one = Value((2, 1)), Value((), numbers=np.asarray(0.0)), Value((), numbers=np.asarray(1.0))
    for number, kept in ((nothing, True), (one, False), (Value(()), False)):
        x = bench.value((2, 3), 1)
        assert zeros(bench.run("where", mask, number, x, outputs=[(2, 3)])) == [kept]
        assert zeros(bench.run("where", mask, x, number, outputs=[(2, 3)])) == [kept]
        assert zeros(bench.run("masked_fill", x, mask, number, outputs=[(2, 3)])) == [kept]
    assert zeros(bench.run("where", mask, nothing, bench.value((2, 3), 1, zero=False), outputs=[(2, 3)])) == [False]


def test_a_loss_summed_up_freezes(bench):
    bench.run("mse_loss", bench.value((2, 3), 1), Value((2, 3)), outputs=[()])
    assert bench.frozen == {0, 1, 2}


def test_sums_and_lengths_over_channels_need_zeros(bench):
    assert not bench.run("sum", bench.value((2, 3), 1), [1], outputs=[(2,)]).tracked
    assert not bench.run("linalg_vector_norm", bench.value((2, 3), 1), 2, [1], True, outputs=[(2, 1)]).tracked
    assert not bench.frozen
    bench.run("sum", bench.value((2, 3), 1, zero=False), [1], outputs=[(2,)])
    assert bench.frozen == {6, 7, 8}
    bench.run("norm", bench.value((2, 3), 1), 0, [1], outputs=[(2,)])
    assert bench.frozen == {6, 7, 8, 9, 10, 11}


def test_only_the_mean_of_squares_runs_over_channels(bench):
    squares = bench.run("pow", bench.value((2, 3), 1), 2, outputs=[(2, 3)])
    assert not bench.run("mean", squares, [-1], True, outputs=[(2, 1)]).tracked and not bench.frozen
    x = bench.value((2, 3), 1)
    assert not bench.run("mean", bench.run("mul", x, x, outputs=[(2, 3)]), [1], outputs=[(2,)]).tracked
    assert not bench.frozen
    bench.run("mean", x, [1], outputs=[(2,)])
    assert bench.frozen == {3, 4, 5}


def test_a_variance_over_channels_needs_zeros(bench):
    assert not bench.run("var", bench.value((2, 3), 1), [1], outputs=[(2,)]).tracked and not bench.frozen
    variance, mean = bench.run("var_mean", bench.value((2, 3), 1, zero=False), [1], outputs=[(2,), (2,)])
    assert bench.frozen == {3, 4, 5} and not variance.tracked and not mean.tracked


def test_statistics_over_one_axis_of_a_joint_block_tie_its_columns(bench):
    x = bench.value((1, 2, 3), (1, 2))
    out = bench.run("amax", x, [1], outputs=[(1, 3)])
    assert bench.pairs == {(0, 3), (1, 4), (2, 5)} and blocks(out) == {(1,): [0, 1, 2]} and not bench.frozen
    values, indices = bench.run("max", bench.value((1, 2, 3), (1, 2)), 1, True, outputs=[(1, 1, 3), (1, 1, 3)])
    assert blocks(values) == {(2,): [6, 7, 8]} == blocks(indices)


def test_softmax_over_one_axis_of_a_joint_block_ties_its_columns(bench):
    out = bench.run("_softmax", bench.value((1, 2, 3), (1, 2)), 1, False, outputs=[(1, 2, 3)])
    assert bench.pairs == {(0, 3), (1, 4), (2, 5)} and blocks(out) == {(1, 2): [[0, 1, 2], [3, 4, 5]]}
    assert zeros(out) == [False] and not bench.frozen


def test_sorting_finds_its_axis_behind_the_flag(bench):
    values, _ = bench.run("sort", bench.value((4, 3), 1), True, 0, False, outputs=[(4, 3), (4, 3)])
    assert not bench.frozen and blocks(values) == {(1,): [0, 1, 2]}
    bench.run("sort", bench.value((4, 3), 1), True, -1, False, outputs=[(4, 3), (4, 3)])
    assert bench.frozen == {3, 4, 5}


def test_topk_over_tokens_lets_channels_pass(bench):
    values, indices = bench.run("topk", bench.value((4, 3), 1), 2, 0, True, True, outputs=[(2, 3), (2, 3)])
    assert blocks(values) == {(1,): [0, 1, 2]} == blocks(indices)
    values, _ = bench.run("kthvalue", bench.value((4, 3), 1), 2, 0, False, outputs=[(3,), (3,)])
    assert blocks(values) == {(0,): [3, 4, 5]} and not bench.frozen


def test_logsumexp_keeps_no_zeros(bench):
    assert zeros(bench.run("logsumexp", bench.value((4, 3), 1), [0], outputs=[(3,)])) == [False]
    assert zeros(bench.run("amax", bench.value((4, 3), 1), [0], outputs=[(3,)])) == [True]


def test_batch_norm_ties_its_vectors_and_keeps_zeros(bench):
    x, vectors = bench.value((2, 3, 4), 1), [bench.facts.parameter(n, (3,)) for n in "wbmv"]
    out, *_ = bench.run("native_batch_norm", x, *vectors, False, 0.1, 1e-5, outputs=[(2, 3, 4), (0,), (0,)])
    assert bench.pairs >= {(0, 3), (0, 6), (0, 9), (0, 12), (2, 14)} and zeros(out) == [True]
    running = [Value((3,)), Value((3,))]
    bench.run(
        "native_batch_norm", bench.value((2, 3, 4), 2), None, None, *running, True, 0.1, 1e-5, outputs=[(2, 3, 4)]
    )
    assert bench.reasons == {"shares its statistics in a batch norm"}


def test_a_standardised_kernel_may_lose_inputs(bench):
    kernel = bench.run("view", bench.facts.parameter("w", (4, 3, 1)), [1, 4, 3], outputs=[(1, 4, 3)])
    out = bench.run("native_batch_norm", kernel, None, None, None, None, True, 0.1, 1e-5, outputs=[(1, 4, 3)])
    assert blocks(out) == {(1,): [0, 1, 2, 3], (2,): [4, 5, 6]} and zeros(out) == [True, False] and not bench.frozen


def test_layer_norm_ties_weight_and_bias_and_needs_neither(bench):
    x, weight, bias = bench.value((2, 3), 1), bench.facts.parameter("w", (3,)), bench.facts.parameter("b", (3,))
    out, *_ = bench.run("native_layer_norm", x, [3], weight, bias, 1e-5, outputs=[(2, 3), (2, 1), (2, 1)])
    assert bench.pairs == {(0, 3), (1, 4), (2, 5), (0, 6), (1, 7), (2, 8)} and zeros(out) == [True]
    assert zeros(bench.run("layer_norm", x, [3], None, None, 1e-5, outputs=[(2, 3)])) == [True]


def test_a_norm_per_head_ties_its_vector_to_the_inner_axis(bench):
    x, weight = bench.value((1, 2, 5, 3), (1, 3)), bench.facts.parameter("w", (3,))  # 0..5, 6..8
    bench.run("rms_norm", x, [3], weight, 1e-5, outputs=[(1, 2, 5, 3)])
    assert list(bench.projections.values()) == [[0, 3], [1, 4], [2, 5]]
    assert {(6, 9), (7, 10), (8, 11)} == bench.pairs


def test_groups_of_one_channel_go_one_by_one(bench):
    out = bench.run("native_group_norm", bench.value((1, 3, 4), 1), None, None, 1, 3, 4, 3, 1e-5, outputs=[(1, 3, 4)])
    assert blocks(out) == {(1,): [0, 1, 2]} and not bench.boxes and not bench.frozen


def test_weight_norm_ties_the_length_to_its_rows(bench):
    v, g = bench.facts.parameter("v", (3, 2)), bench.facts.parameter("g", (3, 1))  # 0..2, 3, 4; 5..7
    out, _ = bench.run("_weight_norm_interface", v, g, 0, outputs=[(3, 2), (3, 1)])
    assert (
        bench.pairs == {(0, 5), (1, 6), (2, 7)} and blocks(out) == {(0,): [0, 1, 2], (1,): [3, 4]} and not bench.frozen
    )


def test_renorm_needs_zeros_beside_its_axis(bench):
    assert bench.run("renorm", bench.value((3, 2), 0, 1), 2, 0, 1.0, outputs=[(3, 2)]).tracked and not bench.frozen
    bench.run("renorm", bench.value((3, 2), 1, zero=False), 2, 0, 1.0, outputs=[(3, 2)])
    assert bench.frozen == {5, 6}


@pytest.mark.parametrize("name", ["linalg_householder_product", "linalg_qr", "matrix_exp"])
def test_decompositions_freeze_their_matrix(bench, name):
    bench.run(name, bench.value((4, 3, 3), 0, 1, 2), outputs=[(4, 3, 3)])
    assert bench.frozen == {4, 5, 6, 7, 8, 9}


def test_fourier_transforms_keep_the_axes_that_they_mix(bench):
    out = bench.run("_fft_r2c", bench.value((3, 4, 6), 0, 2), [1, 2], 0, True, outputs=[(3, 4, 4)])
    assert blocks(out) == {(0,): [0, 1, 2]} and bench.frozen == {3, 4, 5, 6, 7, 8}


def test_complex_numbers_are_pairs_that_go_together(bench):
    x = bench.value((2, 3, 2), (1, 2))
    out = bench.run("view_as_complex", x, outputs=[(2, 3)])
    assert bench.pairs == {(0, 1), (2, 3), (4, 5)} and blocks(out) == {(1,): [0, 2, 4]}
    assert blocks(bench.run("view_as_real", out, outputs=[(2, 3, 2)])) == {(1,): [0, 2, 4]}


def test_a_cross_product_mixes_three_indices(bench):
    x = bench.value((5, 3), 0, 1)
    out = bench.run("linalg_cross", x, Value((1, 3)), -1, outputs=[(5, 3)])
    assert {5, 6, 7} <= bench.frozen and (0,) in blocks(out)


@pytest.mark.parametrize("name", ["_local_scalar_dense", "nonzero", "bucketize", "masked_select", "torchvision.nms"])
def test_numbers_that_are_read_freeze(bench, name):
    assert not bench.run(name, bench.value((3,), 0), outputs=[(3,)]).tracked
    assert bench.frozen == {0, 1, 2} and bench.reasons == {f"is read number by number in {name}"}


def test_new_tensors_are_nobodys_and_triangles_keep_their_axes(bench):
    assert not bench.run("arange", 3, outputs=[(3,)]).tracked
    bench.run("tril", bench.value((2, 3, 3), 0, 2), 0, outputs=[(2, 3, 3)])
    assert bench.frozen == {2, 3, 4}


@pytest.mark.parametrize(
    "name", ["fake_quantize_per_channel_affine_cachemask", "_fake_quantize_learnable_per_channel_affine"]
)
def test_scales_and_zero_points_of_channels_live_with_them(bench, name):
    x, scale, zero_point = bench.value((2, 3, 4), 1), bench.value((3,), 0), bench.value((3,), 0, zero=False)
    shapes = [(2, 3, 4)] * (2 if "mask" in name else 1)
    out = bench.run(name, x, scale, zero_point, 1, -128, 127, outputs=shapes)
    first = out[0] if isinstance(out, list) else out
    assert bench.pairs == {(0, 3), (1, 4), (2, 5), (0, 6), (1, 7), (2, 8)}
    assert blocks(first) == {(1,): [0, 1, 2]} and zeros(first) == [True] and not bench.frozen
