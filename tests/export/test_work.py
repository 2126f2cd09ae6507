"""MACs of exported nodes, by hand and beside the counter."""

import pytest
import torch
from torch import nn

from deploy_prune.count import count
from deploy_prune.export.onnx import export_onnx
from deploy_prune.export.work import NodeWork, read_work

pytest.importorskip("onnx")


class Mixed(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 8, 3, padding=1)
        self.depthwise = nn.Conv2d(8, 8, 3, stride=2, padding=1, groups=8)
        self.up = nn.ConvTranspose2d(8, 6, 2, stride=2)
        self.fc = nn.Linear(6, 5)

    def forward(self, data):
        tokens = self.up(self.depthwise(self.conv(data)).relu()).flatten(2).transpose(1, 2)  # (1, 64, 6)
        return self.fc(tokens @ (tokens.transpose(1, 2) @ tokens))


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    torch.manual_seed(0)
    model, data = Mixed().eval(), torch.rand(1, 4, 8, 8)
    return model, data, export_onnx(model, data, tmp_path_factory.mktemp("work") / "mixed.onnx")


def test_each_node_counts_what_it_multiplies(exported):
    _, _, path = exported
    work = read_work(path)
    assert work["/conv/Conv"] == NodeWork(8 * 64 * 4 * 9, 8, 8 * 64, 8 * 4 * 9)
    assert work["/depthwise/Conv"] == NodeWork(8 * 16 * 9, 8, 8 * 16, 8 * 9)
    assert work["/up/ConvTranspose"] == NodeWork(8 * 16 * 6 * 4, 6, 6 * 64, 8 * 6 * 4)
    assert work["/MatMul"] == NodeWork(6 * 6 * 64, 6, 36)
    assert work["/MatMul_1"] == NodeWork(64 * 6 * 6, 6, 64 * 6)
    (fc,) = [one for name, one in work.items() if name.startswith("/fc/")]  # a product, or one with its bias
    assert fc == NodeWork(64 * 5 * 6, 5, 64 * 5, 30)


def test_their_sum_is_what_the_counter_says(exported):
    model, data, path = exported
    assert sum(one.macs for one in read_work(path).values()) == count(model, data).macs


@pytest.mark.parametrize(("batch", "linear"), [(1, nn.Linear(7, 3)), (4, nn.Linear(7, 3, bias=False))])
def test_a_linear_layer_alone(tmp_path, batch, linear):
    (work,) = read_work(export_onnx(linear, torch.rand(batch, 7), tmp_path / "fc.onnx")).values()
    assert work == NodeWork(batch * 21, 3, batch * 3, 21)
