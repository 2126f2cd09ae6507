"""Parameters and multiply-accumulates by widths equal those of the pruned module, to the integer."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from zoo.topologies import BODIES, build

from deploy_prune.count import count
from deploy_prune.search.prunable import Prunable
from deploy_prune.search.work import mac_work, parameter_work

UNCOUNTABLE = {"CrossAttention"}  # torch's own counter fails on it
SMALL = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def assert_equal_to_count(model, inputs, seed, remove_branches=False):
    """At random widths, with some branches gone."""
    prunable = Prunable.of(model, inputs, remove_branches=remove_branches)
    macs, params = mac_work(prunable, count(model, inputs).macs), parameter_work(prunable)
    chance = torch.Generator().manual_seed(seed)
    widths = {g: int(torch.randint(1, full + 1, (), generator=chance)) for g, full in prunable.full_widths.items()}
    for groups in prunable.branches.values():
        if torch.rand((), generator=chance) < 0.4:
            widths |= dict.fromkeys(groups, 0)
    counted = count(prunable.build(widths), inputs)
    assert (macs.at(widths), params.at(widths)) == (counted.macs, counted.params)
    menu = {g: sorted({widths[g], full}) for g, full in prunable.full_widths.items()}
    tables = macs.tables(menu), params.tables(menu)
    assert [t.cost_s(widths) for t in tables] == [counted.macs, counted.params]


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(BODIES.keys() - UNCOUNTABLE)), st.integers(0, 10**6))
@pytest.mark.filterwarnings("ignore:LSTM with projections")
def test_random_topologies_at_random_widths(name, seed):
    assert_equal_to_count(build(name), SMALL, seed)


@pytest.mark.parametrize(
    ("name", "pixels", "options"),
    [
        ("resnet18", 64, {}),
        ("mobilenet_v2", 64, {}),
        ("densenet121", 64, {}),
        ("shufflenet_v2_x1_0", 64, {}),
        ("convnext_tiny", 64, {}),
        ("regnet_y_400mf", 64, {}),
        ("vit_b_16", 32, {"image_size": 32}),
    ],
)
@pytest.mark.parametrize("remove_branches", [False, True])
def test_torchvision(name, pixels, options, remove_branches):
    models = pytest.importorskip("torchvision.models")
    model = getattr(models, name)(weights=None, **options).eval()
    assert_equal_to_count(model, torch.rand(1, 3, pixels, pixels), 1, remove_branches)


@pytest.mark.parametrize("remove_branches", [False, True])
def test_yolov8n(remove_branches):
    ultralytics = pytest.importorskip("ultralytics")
    model = ultralytics.YOLO("yolov8n.yaml").model.eval()
    assert_equal_to_count(model, torch.rand(1, 3, 64, 64), 1, remove_branches)


def test_what_the_analysis_does_not_know_counts_in_full():
    """A bilinear layer: 2 samples, 3 x 4 inputs, 5 outputs; the linear layer before it has 6 hidden units."""

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two, self.pair = nn.Linear(3, 6), nn.Linear(6, 3), nn.Bilinear(3, 4, 5)

        def forward(self, x, y):
            return self.pair(self.two(self.one(x)), y)

    model, inputs = Model(), (torch.rand(2, 3), torch.rand(2, 4))
    prunable = Prunable.of(model, inputs)
    work = mac_work(prunable, count(model, inputs).macs)
    assert work.always.terms[()] == 2 * 3 * 4 * 5
    assert work.at({"one": 2, "two": 3}) == 2 * 3 * 4 * 5 + 2 * (3 * 2 + 2 * 3)


def test_arithmetic_that_the_count_does_not_know_makes_everything_count_in_full():
    model = nn.Sequential(nn.Linear(3, 6), nn.Linear(6, 3))
    prunable = Prunable.of(model, torch.rand(1, 3))
    assert mac_work(prunable, 30).at({"0": 1}) == 30
