"""Files of other formats, written and run for real, against the PyTorch module that they come from."""

import pytest
import torch
from torch import nn

from deploy_prune.errors import ExportError
from deploy_prune.export.ncnn import open_ncnn, weights_of, write_ncnn
from deploy_prune.export.onnx import export_onnx
from deploy_prune.export.openvino import open_ir, read_ir_kernels, write_int8_ir, write_ir
from deploy_prune.export.parity import check_parity
from deploy_prune.export.pt2 import write_pt2
from deploy_prune.export.running import open_file, run_file

INPUTS = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    """Two outputs, of four axes and of two."""

    def __init__(self):
        super().__init__()
        self.convs = nn.Sequential(nn.Conv2d(3, 16, 3), nn.SiLU(), nn.Conv2d(16, 16, 3), nn.SiLU())
        self.mask, self.fc = nn.Conv2d(16, 2, 1), nn.Linear(16, 5)

    def forward(self, data):
        features = self.convs(data)
        return self.mask(features), self.fc(features.mean((2, 3)))


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return Net()


@pytest.fixture(scope="module")
def onnx_file(model, tmp_path_factory):
    return export_onnx(model, INPUTS[:1], tmp_path_factory.mktemp("formats") / "net.onnx")


def test_openvino_computes_the_same(model, onnx_file, tmp_path):
    pytest.importorskip("openvino")
    whole = write_ir(onnx_file, tmp_path / "net.xml")
    assert check_parity(model, whole, INPUTS).max_rel < 1e-5
    half = write_ir(onnx_file, tmp_path / "half.xml", float16=True)
    assert 0 < check_parity(model, half, INPUTS, tolerance=1e-2).max_rel < 5e-3
    sizes = [path.with_suffix(".bin").stat().st_size for path in (whole, half)]
    assert 0.45 < sizes[1] / sizes[0] < 0.6
    assert sorted(path.name for path in tmp_path.iterdir()) == ["half.bin", "half.xml", "net.bin", "net.xml"]


def test_openvino_in_int8_keeps_the_heads_float(model, onnx_file, tmp_path):
    pytest.importorskip("openvino")
    pytest.importorskip("nncf")
    written = write_int8_ir(onnx_file, tmp_path / "int8.xml", INPUTS)
    assert 0 < check_parity(model, written, INPUTS, tolerance=0.2).max_rel < 0.1
    kernels = read_ir_kernels(written)
    assert (sum(kernels.integer.values()), kernels.multiplying) == (2, 4)
    assert sum(read_ir_kernels(write_ir(onnx_file, tmp_path / "float.xml")).integer.values()) == 0


def test_ncnn_computes_the_same(model, onnx_file, tmp_path):
    pytest.importorskip("ncnn")
    pytest.importorskip("pnnx")
    written = write_ncnn(onnx_file, tmp_path / "net.ncnn.param", INPUTS[:1].shape)
    assert check_parity(model, written, INPUTS).max_rel < 1e-5
    half = write_ncnn(onnx_file, tmp_path / "half.ncnn.param", INPUTS[:1].shape, float16=True)
    assert 0 < check_parity(model, half, INPUTS, tolerance=1e-2).max_rel < 5e-3
    assert weights_of(half).stat().st_size < weights_of(written).stat().st_size
    assert len(list(tmp_path.iterdir())) == 4  # what the converter writes besides is gone


def test_a_programme_computes_the_same(model, tmp_path):
    model.train()
    written = write_pt2(model, INPUTS[:1], tmp_path / "net.pt2")
    assert check_parity(model, written, INPUTS).max_rel < 1e-6
    assert model.training


def test_what_is_no_model_is_one_line(tmp_path):
    pytest.importorskip("openvino")
    pytest.importorskip("ncnn")
    pytest.importorskip("pnnx")
    for name in ("bad.xml", "bad.pt2", "bad.onnx", "bad.ncnn.param"):
        path = tmp_path / name
        path.write_bytes(b"not a model")
        with pytest.raises(ExportError, match=f"{name} is not a model that .* can open") as caught:
            open_file(path)
        assert "\n" not in str(caught.value)
    with pytest.raises(ExportError, match=r"pnnx cannot convert bad\.onnx: "):
        write_ncnn(tmp_path / "bad.onnx", tmp_path / "a.ncnn.param", (1, 3, 8, 8))
    with pytest.raises(ExportError, match=r"OpenVINO cannot convert bad\.onnx: "):
        write_ir(tmp_path / "bad.onnx", tmp_path / "a.xml")
    with pytest.raises(ExportError, match=r"cannot be run; expected a file that ends in \.onnx, \.xml, "):
        open_file(tmp_path / "model.engine")


def test_a_module_that_cannot_be_traced_is_one_line(tmp_path):
    class Odd(nn.Module):
        def forward(self, data):
            return data + len(set(data.flatten().tolist()))

    with pytest.raises(ExportError, match=r"torch\.export cannot take Odd: "):
        write_pt2(Odd(), INPUTS[:1], tmp_path / "odd.pt2")
    assert list(tmp_path.iterdir()) == []


def test_outputs_come_in_the_files_order(onnx_file, tmp_path):
    pytest.importorskip("openvino")
    (mask, scores) = open_ir(write_ir(onnx_file, tmp_path / "net.xml"))(INPUTS[:1].numpy())
    assert mask.shape == (1, 2, 12, 12) and scores.shape == (1, 5)
    pytest.importorskip("ncnn")
    pytest.importorskip("pnnx")
    written = write_ncnn(onnx_file, tmp_path / "net.ncnn.param", INPUTS[:1].shape)
    assert [one.shape for one in open_ncnn(written)(INPUTS[:1].numpy())] == [(1, 2, 12, 12), (1, 5)]
    assert [one.shape for one in next(run_file(onnx_file, INPUTS))] == [(1, 2, 12, 12), (1, 5)]
