"""INT8 files, made and run for real."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from deploy_prune.errors import ExportError
from deploy_prune.export.int8 import has_products, last_products, quantise_dynamic, quantise_static
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


def optimised_operators(path, folder):
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return [node.op_type for node in onnx.load(folder / "optimised.onnx").graph.node]


def test_convolutions_really_run_in_int8(dense, tmp_path):
    written = quantise_static(dense, tmp_path / "static.onnx", INPUTS)
    assert optimised_operators(written, tmp_path).count("QLinearConv") == 2
    expected, got = run(dense), run(written)
    assert 0 < np.abs(got - expected).max() < 0.1 * np.abs(expected).max()
    assert {entry.key: entry.value for entry in onnx.load(written).metadata_props}["who"] == "me"
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_matrix_products_are_quantised_dynamically(dense, tmp_path):
    assert has_products(dense)
    written = quantise_dynamic(dense, tmp_path / "dynamic.onnx")
    assert any("Integer" in op or "DynamicQuantize" in op for op in optimised_operators(written, tmp_path))
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
    assert last_products(nodes) == ["dfl", "scores"]


def test_a_refused_file_is_one_line(tmp_path):
    (tmp_path / "bad.onnx").write_bytes(b"not a model")
    with pytest.raises(ExportError, match=r"ONNX Runtime cannot quantise bad\.onnx: "):
        quantise_static(tmp_path / "bad.onnx", tmp_path / "out.onnx", INPUTS)
    assert not (tmp_path / "out.onnx").exists()
