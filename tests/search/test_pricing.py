"""Measured prices: by hand, those of the pruned network, and the model is left as it was."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from zoo.topologies import build

from deploy_prune.importance.calibration import Calibration
from deploy_prune.importance.named import criterion_named
from deploy_prune.latency.tables import CostTables
from deploy_prune.pruner import apply_plan
from deploy_prune.search.pricing import measured_menu
from deploy_prune.search.prunable import Prunable
from deploy_prune.search.solver import solve

IMAGES = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def two_layers():
    """One hidden layer of four units that add 1, 4, 9 and 16 times the input."""
    model = nn.Sequential(nn.Linear(1, 4, bias=False), nn.Linear(4, 1, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0], [2.0], [3.0], [4.0]]))
        model[1].weight.copy_(torch.tensor([[1.0, 2.0, 3.0, 4.0]]))
    return Prunable.of(model.eval(), torch.ones(1, 1))


def state(model):
    gradients = {n: None if p.grad is None else p.grad.clone() for n, p in model.named_parameters()}
    return copy.deepcopy(model.state_dict()), gradients, [m.training for m in model.modules()]


def same(a, b):
    (weights, gradients, training), (weights_b, gradients_b, training_b) = a, b
    assert training == training_b and weights.keys() == weights_b.keys()
    assert all(torch.equal(weights[k], weights_b[k]) for k in weights)
    for name, gradient in gradients.items():
        other = gradients_b[name]
        assert (gradient is None) == (other is None) and (gradient is None or torch.equal(gradient, other))


def test_divergence_by_hand(two_layers):
    """The output is 30 times the input; what is removed is missing from it, alike at every input."""
    prices = measured_menu(two_layers, {"0": (1, 2, 4)}, Calibration([torch.tensor([[1.0], [3.0]])]))
    assert prices.measured["0"] == pytest.approx({1: (14 / 30) ** 2, 2: (5 / 30) ** 2})
    assert prices.menu.loss["0"] == pytest.approx((14 / 30, 5 / 30, 0))


def test_a_network_that_has_lost_units_is_priced_from_there(two_layers):
    """Without its first two units the output is 25 times the input; without the third, too, 16 times."""
    with torch.no_grad():
        two_layers.model[0].weight[:2] = 0
    later = Prunable.of(two_layers.model, torch.ones(1, 1), start={"0": 2})
    assert later.menu_widths(1) == {"0": (1, 2)}
    prices = measured_menu(later, later.menu_widths(1), Calibration([torch.tensor([[1.0], [3.0]])]))
    assert prices.menu.loss["0"] == pytest.approx((9 / 25, 0))


def test_loss_by_hand(two_layers):
    """The mean of (30 x - 29 x)² is 5 on inputs 1 and 3; with 16 left of 30 it is 14 more off: 5 * 13² - 5."""
    batch = torch.tensor([[1.0], [3.0]])
    calibration = Calibration([batch], lambda model, x: (model(x) - 29 * x).square().mean())
    prices = measured_menu(two_layers, {"0": (1, 4)}, calibration)
    assert prices.menu.loss["0"] == pytest.approx((np.sqrt(5 * 13**2 - 5), 0))


def test_the_loss_is_the_mean_over_the_batches(two_layers):
    def loss(model, batch):
        inputs, weight = batch
        return weight * model(inputs).mean()

    calibration = Calibration([(torch.ones(1, 1), -1.0), (torch.ones(1, 1), -3.0)], loss)
    prices = measured_menu(two_layers, {"0": (1, 4)}, calibration)
    assert prices.menu.loss["0"] == pytest.approx((np.sqrt(2 * 14), 0))


TOPOLOGIES = (
    *("ChunkWithSplit", "Residual", "Concat", "SqueezeExcite", "CalledTwice", "TiedWeights", "Grouped"),
    *("ModuleAttention", "FusedThreeHeadsInner"),
)


@pytest.mark.parametrize("name", TOPOLOGIES)
def test_prices_are_those_of_the_pruned_network(name):
    model = build(name)
    prunable = Prunable.of(model, IMAGES)
    widths = prunable.menu_widths(2)
    before = state(model)
    prices = measured_menu(prunable, widths, Calibration([IMAGES[:1], IMAGES[1:]]))
    same(before, state(model))
    for group, by_width in prices.measured.items():
        for width, loss in by_width.items():
            pruned = apply_plan(model, prunable.plan({group: width}))
            assert loss == pytest.approx(np.mean([off(model, pruned, x) for x in IMAGES.split(1)]), rel=1e-3, abs=1e-9)


def off(dense, pruned, x):
    with torch.no_grad():
        a, b = dense(x), pruned(x)
    return float((a - b).square().sum() / a.square().sum())


def digits_like():
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 32, 3), nn.BatchNorm2d(32), nn.ReLU(), nn.Conv2d(32, 16, 3), nn.ReLU()
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 4))


def test_curves_are_exact_where_they_were_measured_and_monotone_elsewhere():
    model, labels = digits_like(), torch.tensor([1, 3])
    calibration = Calibration([(IMAGES, labels)], lambda model, batch: F.cross_entropy(model(batch[0]), batch[1]))
    prunable = Prunable.of(model, IMAGES, importance=criterion_named("fisher"), calibration=calibration)
    widths = {"0": tuple(range(2, 33, 2)), "3": (4, 8, 16)}
    calls = []
    prices = measured_menu(prunable, widths, calibration, points=3, advance=lambda: calls.append(1))
    assert len(prices.measured["0"]) == 3 and set(prices.measured["3"]) == {4, 8} and len(calls) == 4
    for group, choices in widths.items():
        loss = prices.menu.loss[group]
        assert loss[-1] == 0 and list(loss) == sorted(loss, reverse=True)
        highest = 0.0
        for width in sorted(prices.measured[group], reverse=True):
            highest = max(highest, prices.measured[group][width])
            assert loss[choices.index(width)] == pytest.approx(np.sqrt(highest), rel=1e-12)
    assert prices.leave_out_error is None or prices.leave_out_error >= 0


def test_the_solver_takes_from_the_group_that_costs_less():
    """Two equal groups, one of which the output does not see: its units go."""

    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.seen, self.unseen = nn.Linear(4, 8), nn.Linear(4, 8)
            self.a, self.b = nn.Linear(8, 2), nn.Linear(8, 2)
            self.b.weight.data.mul_(1e-3)

        def forward(self, x):
            return self.a(self.seen(x).relu()) + self.b(self.unseen(x).relu())

    prunable = Prunable.of(Two(), torch.rand(1, 4))
    widths = {"seen": (4, 8), "unseen": (4, 8)}
    menu = measured_menu(prunable, widths, Calibration([torch.rand(16, 4)])).menu
    tables = CostTables(widths, 1.0, {g: np.array([0.0, 1.0]) for g in widths}, {})
    assert solve(menu, tables, 2.0).widths == {"seen": 8, "unseen": 4}
