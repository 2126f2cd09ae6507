"""Keys worked out by hand: what is a width and what is fixed, for each way in which operators have widths."""

import pytest

from deploy_prune.latency.layer_key import LayerKind, identify_layer

KERNEL = ("kernel_shape", (3, 3))


def conv(c_in, c_out, *, group=1, size=20, fused=("Relu",), padded=None):
    """A 3x3 convolution of ``c_in`` to ``c_out`` channels as an engine describes it, perhaps with padded shapes."""
    attributes = (("group", group), KERNEL) if group > 1 else (KERNEL,)
    shapes = ((1, padded or c_in, size, size), (c_out, c_in // group, 3, 3)), ((1, padded or c_out, size, size),)
    return identify_layer("Conv", attributes, fused, *shapes, (c_out, c_in // group, 3, 3))


def test_a_convolution_is_its_geometry_with_its_widths_open():
    key = conv(30, 48)
    assert (key.c_in, key.c_out) == (30, 48)
    assert key.kind == LayerKind("Conv", (KERNEL,), ("Relu",), ((1, "c_in", 20, 20),), ((1, "c_out", 20, 20),))
    assert key.kind == conv(64, 16).kind and key != conv(64, 16)


@pytest.mark.parametrize("other", [{"size": 10}, {"fused": ()}, {"fused": ("Add", "Relu")}, {"group": 2}])
def test_what_makes_another_kind(other):
    assert conv(32, 32, **other).kind != conv(32, 32).kind


def test_padding_of_an_engine_is_no_width():
    assert conv(30, 30, padded=32) == conv(30, 30)


def test_depthwise_convolutions_of_any_width_are_one_kind_and_groups_of_a_number_are_another():
    narrow, wide = conv(72, 72, group=72), conv(96, 96, group=96)
    assert narrow.kind == wide.kind and (narrow.c_in, wide.c_in) == (72, 96)
    assert dict(narrow.kind.attributes)["group"] == "c_in"
    assert conv(72, 72, group=8).kind not in (narrow.kind, conv(72, 72, group=9).kind)


def test_a_transposed_convolution_has_its_output_second():
    key = identify_layer("ConvTranspose", (), (), ((1, 8, 4, 4),), ((1, 6, 8, 8),), (8, 6, 2, 2))
    assert (key.c_in, key.c_out) == (8, 6)


def test_products_keep_their_leading_extents():
    linear = identify_layer("Gemm", (("transB", 1),), (), ((17, 192),), ((17, 576),), (576, 192))
    assert (linear.c_in, linear.c_out) == (192, 576)
    assert linear.kind.inputs == ((17, "c_in"),) and linear.kind.outputs == ((17, "c_out"),)
    tokens = identify_layer("MatMul", (), (), ((1, 17, 192),), ((1, 17, 64),), (192, 64))
    assert (tokens.c_in, tokens.c_out) == (192, 64)
    assert tokens.kind.inputs == ((1, 17, "c_in"),)


def test_a_product_of_activations_has_the_widths_of_its_shapes():
    key = identify_layer("MatMul", (), (), ((1, 3, 17, 64), (1, 3, 64, 17)), ((1, 3, 17, 17),), None)
    assert (key.c_in, key.c_out) == (64, 17)
    assert key.kind.inputs == ((1, 3, 17, "c_in"), (1, 3, 64, 17))


def test_inputs_as_wide_as_the_first_follow_it_and_others_stay():
    gate = identify_layer("Mul", (), (), ((1, 16, 1, 1), (1, 16, 24, 24)), ((1, 16, 24, 24),), None)
    assert gate.kind.inputs == ((1, "c_in", 1, 1), (1, "c_in", 24, 24))
    shifted = identify_layer("Add", (), (), ((1, 16, 4, 4), (1, 1, 4, 4), ()), ((1, 16, 4, 4),), None)
    assert shifted.kind.inputs == ((1, "c_in", 4, 4), (1, 1, 4, 4), ())


def test_a_concatenation_reads_the_sum():
    key = identify_layer("Concat", (("axis", 1),), (), ((1, 16, 4, 4), (1, 32, 4, 4)), ((1, 48, 4, 4),), None)
    assert (key.c_in, key.c_out) == (48, 48)
    other = identify_layer("Concat", (("axis", 1),), (), ((1, 24, 4, 4), (1, 8, 4, 4)), ((1, 32, 4, 4),), None)
    assert other.kind == key.kind


def test_norms_of_channels_last():
    key = identify_layer("LayerNormalization", (("axis", -1),), (), ((1, 7, 7, 96), (96,)), ((1, 7, 7, 96),), None)
    assert key.c_in == 96 and key.kind.inputs == ((1, 7, 7, "c_in"), ("c_in",))


def test_widths_in_attributes_do_not_count():
    keys = [
        identify_layer("ReorderOutput", (("channels", c),), (), ((1, 16, 4, 4),), ((1, c, 4, 4),), None)
        for c in (8, 12)
    ]
    assert keys[0].kind == keys[1].kind and [key.c_out for key in keys] == [8, 12]


def test_a_kind_goes_through_text_and_describes_itself():
    kind = conv(64, 64, group=64, fused=("Add", "Relu")).kind
    assert LayerKind.from_json(kind.to_json()) == kind
    assert kind.describe() == "Conv 3x3 depthwise +Add +Relu, 1×c_in×20×20 → 1×c_out×20×20"
    strided = identify_layer("Conv", (KERNEL, ("strides", (2, 2))), (), ((1, 3, 8, 8),), ((1, 4, 4, 4),), (4, 3, 3, 3))
    assert strided.kind.describe() == "Conv 3x3 /2, 1×c_in×8×8 → 1×c_out×4×4"
    scalar = identify_layer("Relu", (), (), (), (), None)
    assert (scalar.c_in, scalar.c_out) == (1, 1) and LayerKind.from_json(scalar.kind.to_json()) == scalar.kind
