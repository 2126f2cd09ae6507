import math
from pathlib import Path

import pytest
import torch
from torch import nn

from deploy_prune.errors import ExportError
from deploy_prune.export.onnx import export_onnx
from deploy_prune.export.parity import check_parity


class Scaled(nn.Module):
    """Multiplies channel 0 by ``a`` and channel 1 by ``b``; two outputs, the second twice the first."""

    def __init__(self, a, b):
        super().__init__()
        self.register_buffer("factors", torch.tensor([a, b]).view(1, 2, 1))

    def forward(self, x):
        return {"once": x * self.factors, "twice": [x * self.factors * 2]}


def exported(model, tmp_path, shape=(1, 2, 3)):
    return export_onnx(model, torch.zeros(shape), tmp_path / "a.onnx")


def test_same_computation_has_no_difference(tmp_path):
    model = Scaled(1.0, 2.0).train()
    parity = check_parity(model, exported(model, tmp_path), torch.rand(4, 2, 3))
    assert (parity.max_abs, parity.mean_abs, parity.max_rel, parity.inputs) == (0.0, 0.0, 0.0, 4)
    assert model.training


def test_differences_by_hand(tmp_path):
    # Inputs of one: outputs (100, 1) and (200, 2) expected, (100, 1.5) and (200, 3) exported. Each channel is
    # judged by its own size: 0.5 of 1, although 0.5 is little beside 100.
    path = exported(Scaled(100.0, 1.5), tmp_path)
    parity = check_parity(Scaled(100.0, 1.0), path, torch.ones(2, 2, 3), tolerance=1.0)
    assert parity.max_abs == 1.0
    assert math.isclose(parity.mean_abs, (0 + 0.5 + 0 + 1) / 4)
    assert math.isclose(parity.max_rel, 0.5)


def test_a_channel_of_nothing_is_judged_by_a_thousandth_of_the_output(tmp_path):
    path = exported(Scaled(100.0, 1e-3), tmp_path)
    parity = check_parity(Scaled(100.0, 0.0), path, torch.ones(1, 2, 3), tolerance=1.0)
    assert math.isclose(parity.max_rel, 1e-3 / (1e-3 * 100), rel_tol=1e-6)


def test_another_computation_is_refused_with_the_figures(tmp_path):
    path = exported(Scaled(1.0, 1.001), tmp_path)
    message = r"a.onnx does not compute .* differ by up to 0.002, 1.0e-03 of its size, over the allowed 1e-04"
    with pytest.raises(ExportError, match=message):
        check_parity(Scaled(1.0, 1.0), path, torch.ones(1, 2, 3))


def test_not_a_number_is_refused(tmp_path):
    path = exported(Scaled(1.0, float("nan")), tmp_path)
    with pytest.raises(ExportError, match=r"differ by up to nan"):
        check_parity(Scaled(1.0, 1.0), path, torch.ones(1, 2, 3))


def test_other_shapes_are_refused(tmp_path):
    class Wider(nn.Module):
        def forward(self, x):
            return torch.cat([x, x], 1)

    path = exported(Scaled(1.0, 1.0), tmp_path)
    with pytest.raises(ExportError, match=r"returns \[\(1, 2, 3\), .* and the PyTorch module \[\(1, 4, 3\)\]"):
        check_parity(Wider(), path, torch.ones(1, 2, 3))


def test_input_of_another_size_is_refused(tmp_path):
    path = exported(Scaled(1.0, 1.0), tmp_path)
    with pytest.raises(ExportError, match=r"a.onnx takes inputs of \[1, 2, 3\], got \[1, 2, 4\]"):
        check_parity(Scaled(1.0, 1.0), path, torch.ones(1, 2, 4))


@pytest.mark.parametrize("content", [None, "not a model"])
def test_a_file_that_is_no_model(tmp_path, content):
    path = Path(tmp_path / "a.onnx")
    if content:
        path.write_text(content)
    with pytest.raises(ExportError, match=r"a.onnx is not a model that ONNX Runtime can open"):
        check_parity(nn.Identity(), path, torch.ones(1))


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2"])
def test_real_networks_agree_to_float_rounding(tmp_path, name):
    torchvision = pytest.importorskip("torchvision")
    model = getattr(torchvision.models, name)().eval()
    x = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    assert check_parity(model, export_onnx(model, x[:1], tmp_path / "a.onnx"), x).max_rel < 1e-5
