"""INT8 files, made and run for real."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from deploy_prune.errors import ExportError
from deploy_prune.export.best_int8 import likeness, quantise_best
from deploy_prune.export.float16 import convert_float16
from deploy_prune.export.int8 import (
    ARM,
    TENSORRT,
    X86_WITHOUT_VNNI,
    float_nodes,
    has_products,
    last_products,
    quantise_dynamic,
    quantise_static,
)
from deploy_prune.export.kernels import count_kernels, read_kernels
from deploy_prune.export.onnx import export_onnx

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

INPUTS = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.convs = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.ReLU())
        self.fc = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 5))

    def forward(self, data):
        return self.fc(self.convs(data).mean((2, 3)))


@pytest.fixture(scope="module")
def dense(tmp_path_factory):
    torch.manual_seed(0)
    return export_onnx(Net().eval(), INPUTS[:1], tmp_path_factory.mktemp("int8") / "net.onnx", metadata={"who": "me"})


def run(path):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(None, {"input": one.numpy()})[0] for one in INPUTS.split(1)])


def constants(path, operator, position):
    """What the nodes of an operator read as their input of this position, as arrays."""
    graph = onnx.load(path).graph
    weights = {one.name: onnx.numpy_helper.to_array(one) for one in graph.initializer}
    names = [node.input[position] for node in graph.node if node.op_type == operator]
    return [weights[name] for name in names if name in weights]


def test_convolutions_really_run_in_int8(dense, tmp_path):
    written = quantise_static(dense, tmp_path / "static.onnx", INPUTS)
    assert read_kernels(written).integer["QLinearConv"] == 2
    expected, got = run(dense), run(written)
    assert 0 < np.abs(got - expected).max() < 0.1 * np.abs(expected).max()
    assert {entry.key: entry.value for entry in onnx.load(written).metadata_props}["who"] == "me"
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_matrix_products_are_quantised_dynamically(dense, tmp_path):
    assert has_products(dense)
    written = quantise_dynamic(dense, tmp_path / "dynamic.onnx")
    assert sum(read_kernels(written).integer.values()) >= 1
    assert np.abs(run(written) - run(dense)).max() < 0.1 * np.abs(run(dense)).max()


def test_the_last_product_before_each_output_is_left_out():
    def node(name, op, inputs, output):
        return SimpleNamespace(name=name, op_type=op, input=inputs, output=[output])

    nodes = (
        node("stem", "Conv", ["in", "w"], "a"),
        node("boxes", "Conv", ["a", "v"], "b"),
        node("soft", "Softmax", ["b"], "c"),
        node("dfl", "Conv", ["c", "u"], "d"),
        node("scores", "Conv", ["a", "t"], "e"),
        node("out", "Concat", ["d", "e"], "f"),
    )
    shapes = {"u": (1, 16, 1, 1), "v": (64, 8, 1, 1), "t": (80, 8, 1, 1), "w": (8, 3, 3, 3)}
    assert last_products(nodes, shapes) == ["boxes", "dfl", "scores"]
    assert last_products(nodes, shapes | {"u": (4, 16, 1, 1)}) == ["dfl", "scores"]


def test_symmetric_activations_have_no_zero_point(dense, tmp_path):
    """What TensorRT and ARM's kernels ask for; weights of the first stay float for TensorRT to fold."""
    for scheme in (ARM, TENSORRT):
        written = quantise_static(dense, tmp_path / "symmetric.onnx", INPUTS, scheme=scheme)
        points = constants(written, "QuantizeLinear", 2)
        assert {point.dtype.name for point in points} == {"int8"} and not any(point.any() for point in points)
        assert np.abs(run(written) - run(dense)).max() < 0.1 * np.abs(run(dense)).max()
        integers = {weight.dtype.name for weight in constants(written, "DequantizeLinear", 0)}
        assert integers == (set() if scheme is TENSORRT else {"int8", "int32"})  # weights and biases


def test_weights_have_seven_bits_where_sums_could_overflow(dense, tmp_path):
    written = quantise_static(dense, tmp_path / "reduced.onnx", INPUTS, scheme=X86_WITHOUT_VNNI)
    weights = [one for one in constants(written, "DequantizeLinear", 0) if one.dtype == np.int8]
    assert max(np.abs(one.astype(int)).max() for one in weights) == 64


@pytest.mark.parametrize("calibration", ["minmax", "entropy", "percentile"])
def test_ranges_are_found_in_three_ways(dense, tmp_path, calibration, capsys):
    written = quantise_static(dense, tmp_path / "out.onnx", INPUTS, calibration=calibration)
    assert read_kernels(written).integer["QLinearConv"] == 2
    assert likeness(dense, written, INPUTS) > 20
    assert capsys.readouterr().out == ""


def test_the_better_version_is_kept(dense, tmp_path):
    scores = iter([0.5, 0.7, 0.7, 0.6])
    seen = []

    def judge(path):
        seen.append(path.read_bytes())
        return next(scores)

    attempts = quantise_best(dense, tmp_path / "best.onnx", INPUTS, judge, try_all_layers=True)
    assert [(one.calibration, one.kept, one.score) for one in attempts] == [
        ("percentile", 1, 0.7), ("minmax", 0, 0.7), ("percentile", 0, 0.6), ("minmax", 1, 0.5),
    ]  # fmt: skip
    assert (tmp_path / "best.onnx").read_bytes() == seen[1]
    assert str(attempts[0]) == "percentile, last layer float" and str(attempts[1]) == "minmax, all layers"
    assert len(float_nodes(dense)) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["best.onnx"]


def test_without_a_metric_the_nearer_version_is_kept(dense, tmp_path):
    first, second = quantise_best(dense, tmp_path / "best.onnx", INPUTS, None)
    assert first.score == likeness(dense, tmp_path / "best.onnx", INPUTS) >= second.score
    assert likeness(dense, dense, INPUTS) == np.inf


def test_float16_keeps_float_inputs_and_outputs(dense, tmp_path):
    written = convert_float16(dense, tmp_path / "half.onnx")
    graph = onnx.load(written).graph
    assert {one.type.tensor_type.elem_type for one in (*graph.input, *graph.output)} == {onnx.TensorProto.FLOAT}
    assert {one.data_type for one in graph.initializer if len(one.dims) > 1} == {onnx.TensorProto.FLOAT16}
    assert 0 < np.abs(run(written) - run(dense)).max() < 2e-3 * np.abs(run(dense)).max()
    assert {entry.key: entry.value for entry in onnx.load(written).metadata_props}["who"] == "me"


def test_float16_of_no_model_is_one_line(tmp_path):
    (tmp_path / "bad.onnx").write_bytes(b"not a model")
    with pytest.raises(ExportError, match=r"bad\.onnx is not an ONNX model: "):
        convert_float16(tmp_path / "bad.onnx", tmp_path / "out.onnx")
    assert not (tmp_path / "out.onnx").exists()


def test_kernels_by_hand():
    found = count_kernels(["QLinearConv", "Conv", "QuantizeLinear", "MatMulIntegerToFloat", "QGemm", "Relu", "QGemm"])
    assert (found.integer, found.multiplying) == ({"QLinearConv": 1, "MatMulIntegerToFloat": 1, "QGemm": 2}, 5)
    assert str(found) == ("4 of 5 convolutions and products in INT8 (1 MatMulIntegerToFloat, 2 QGemm, 1 QLinearConv)")


def test_a_refused_file_is_one_line(tmp_path):
    (tmp_path / "bad.onnx").write_bytes(b"not a model")
    with pytest.raises(ExportError, match=r"ONNX Runtime cannot quantise bad\.onnx: "):
        quantise_static(tmp_path / "bad.onnx", tmp_path / "out.onnx", INPUTS)
    assert not (tmp_path / "out.onnx").exists()
