import subprocess
import sys

import onnx
import pytest
import torch
from torch import nn

from deploy_prune.errors import ExportError
from deploy_prune.export.onnx import export_onnx, graph_digest, set_metadata
from deploy_prune.export.parity import check_parity
from deploy_prune.export.session import open_onnx


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.norm(self.conv(x)).relu().mean((2, 3)))


class Unexportable(nn.Module):
    def forward(self, x):
        return torch.linalg.eigvals(x)


def test_one_static_file_with_nodes_named_after_modules(tmp_path):
    model = Small().train()
    path = export_onnx(model, torch.rand(2, 3, 8, 8), tmp_path / "deep" / "a.onnx", metadata={"plan": "abc"})
    exported = onnx.load(path)
    onnx.checker.check_model(exported, full_check=True)
    assert [(entry.domain, entry.version) for entry in exported.opset_import] == [("", 17)]
    assert exported.ir_version <= 10
    assert [d.dim_value for d in exported.graph.input[0].type.tensor_type.shape.dim] == [2, 3, 8, 8]
    assert {node.op_type: node.name for node in exported.graph.node}["Conv"] == "/conv/Conv"
    assert "BatchNormalization" not in {node.op_type for node in exported.graph.node}  # folded
    assert [(entry.key, entry.value) for entry in exported.metadata_props] == [("plan", "abc")]
    assert [found.name for found in path.parent.iterdir()] == ["a.onnx"]
    assert model.training


def test_same_module_same_bytes(tmp_path):
    model, x = Small(), torch.rand(1, 3, 8, 8)
    first, second = (export_onnx(model, x, tmp_path / name) for name in ("a.onnx", "b.onnx"))
    assert first.read_bytes() == second.read_bytes()


class Attending(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x):
        return self.attention(x, x, x, need_weights=False)[0]


def test_attention_is_exported_without_its_fast_path(tmp_path):
    """In eval mode PyTorch would run all of it as one operator that ONNX does not have."""
    layer, x = Attending().eval(), torch.rand(1, 4, 8)
    with torch.no_grad():
        expected = layer(x)
    path = export_onnx(layer, x, tmp_path / "layer.onnx")
    session = pytest.importorskip("onnxruntime").InferenceSession(path)
    assert torch.allclose(torch.from_numpy(session.run(None, {"input": x.numpy()})[0]), expected, atol=1e-6)
    assert torch.backends.mha.get_fastpath_enabled()


def test_the_digest_is_of_the_graph_and_not_of_the_weights(tmp_path):
    def digest(model, size=8):
        return graph_digest(export_onnx(model, torch.rand(1, 3, size, size), tmp_path / "a.onnx"))

    class Activated(Small):
        def forward(self, x):
            return super().forward(x).sigmoid()

    wider = Small()
    wider.head = nn.Linear(4, 3)
    torch.manual_seed(0)
    first = digest(Small())
    torch.manual_seed(1)
    assert digest(Small()) == first
    assert len({first, digest(Activated()), digest(wider), digest(Small(), size=9)}) == 4


def test_failure_names_the_model_and_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.onnx"
    path.write_text("old")
    model = Unexportable().train()
    with pytest.raises(ExportError, match=r"Unexportable cannot be exported to ONNX opset 17: .*eigvals"):
        export_onnx(model, torch.rand(2, 2), path)
    assert path.read_text() == "old"
    assert [found.name for found in tmp_path.iterdir()] == ["a.onnx"]
    assert model.training


def test_metadata_overwrites_its_own_keys_only():
    exported = onnx.ModelProto()
    set_metadata(exported, {"a": "1", "b": "2"})
    set_metadata(exported, {"b": "3"})
    assert {entry.key: entry.value for entry in exported.metadata_props} == {"a": "1", "b": "3"}
    assert len(exported.metadata_props) == 2


def test_missing_package_tells_what_to_install():
    code = """
import sys, pathlib, torch
sys.modules["onnxslim"] = None
from deploy_prune.errors import MissingDependencyError
from deploy_prune.export.onnx import export_onnx
try:
    export_onnx(torch.nn.Identity(), torch.zeros(1), pathlib.Path("a.onnx"))
except MissingDependencyError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "export needs the package onnxslim; run: pip install 'deploy_prune[onnx]'\n"


def test_number_and_size_of_pictures_may_be_left_open(tmp_path):
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 2, 1))
    path = export_onnx(model, torch.rand(1, 3, 16, 16), tmp_path / "open.onnx", dynamic=True)
    shape = onnx.load(path).graph.input[0].type.tensor_type.shape.dim
    assert [axis.dim_param or axis.dim_value for axis in shape] == ["batch", 3, "height", "width"]
    for inputs in (torch.rand(3, 3, 16, 16), torch.rand(1, 3, 24, 40)):
        assert check_parity(model, path, inputs).max_rel < 1e-5
    (found,) = open_onnx(path)(torch.rand(5, 3, 24, 40).numpy())
    assert found.shape == (5, 2, 24, 40)


def test_a_file_that_is_not_simplified_computes_the_same(tmp_path):
    model, inputs = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Identity(), nn.ReLU()), torch.rand(1, 3, 8, 8)
    assert check_parity(model, export_onnx(model, inputs, tmp_path / "a.onnx", simplify=False), inputs).max_rel < 1e-6
