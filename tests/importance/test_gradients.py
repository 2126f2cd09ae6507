"""Gradients on calibration data: those of the loss, by hand, and nothing of them stays on the model."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from deploy_prune.errors import InputError
from deploy_prune.importance import FisherImportance, HessianImportance, MagnitudeImportance, TaylorImportance
from deploy_prune.importance.calibration import Calibration
from deploy_prune.importance.gradients import gradients, needs_gradients
from deploy_prune.importance.named import CRITERIA, criterion_named
from deploy_prune.pruner import DependencyGraph
from deploy_prune.search.prunable import Prunable

X = torch.tensor([[1.0, 1.0], [2.0, 0.0]])
RAW = {"group_reduction": "sum", "normalizer": None}


def mean_output(model, batch):
    return model(batch).mean()


def scores(criterion, model, calibration):
    (group,) = DependencyGraph().build_dependency(model, X[:1]).get_all_groups()
    with gradients(criterion, model, calibration):
        return criterion(group)


@pytest.fixture
def summed():
    """y = 5 (a + 2 b) - 6 (3 a + 4 b): the units give 15 and -42 at (1, 1), 10 and -36 at (2, 0)."""
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 1, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
        model[1].weight.copy_(torch.tensor([[5.0, -6.0]]))
    return model


def test_taylor_by_hand(summed):
    """Every weight's w dw adds up to its unit's output in both layers: mean of 15 and 10; of 42 and 36."""
    found = scores(TaylorImportance(**RAW), summed, Calibration([X], mean_output))
    assert found.tolist() == pytest.approx([2 * 12.5, 2 * 39])


def test_fisher_is_taken_sample_by_sample(summed):
    found = scores(FisherImportance(**RAW), summed, Calibration([X], mean_output))
    assert found.tolist() == pytest.approx([15**2 + 10**2, 42**2 + 36**2])


def test_batches_that_cannot_be_split_come_as_singles(summed):
    whole = {"x": X, "other": torch.zeros(5)}
    singles = [{"x": x, "other": torch.zeros(5)} for x in X.split(1)]
    calibration = Calibration([whole], lambda model, batch: model(batch["x"]).mean(), singles=singles)
    assert scores(FisherImportance(**RAW), summed, calibration).tolist() == pytest.approx([325, 3060])


def test_without_a_loss_squares_estimate_gauss_newton(summed):
    """One output: in a random direction its gradient is a normal number times that of the output over its length."""
    batches = [torch.ones(2000, 2)]
    found = scores(FisherImportance(**RAW), summed, Calibration(batches))
    assert found.tolist() == pytest.approx([2 * (15 / 27) ** 2, 2 * (42 / 27) ** 2], rel=0.1)
    again = scores(FisherImportance(**RAW), summed, Calibration(batches))
    assert torch.equal(found, again)


@pytest.mark.parametrize("criterion", [TaylorImportance(), FisherImportance(), HessianImportance()])
def test_the_model_is_left_as_it_was(criterion):
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(), nn.Conv2d(8, 2, 3)).train()
    model[0].weight.requires_grad_(False)
    model[4].weight.grad = torch.full_like(model[4].weight, 7.0)
    before = copy.deepcopy(model.state_dict())
    random = torch.random.get_rng_state()
    images = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    Prunable.of(model, images, importance=criterion, calibration=Calibration([images]))
    assert all(torch.equal(a, b) for a, b in zip(before.values(), model.state_dict().values(), strict=True))
    assert not model[0].weight.requires_grad and model[0].weight.grad is None and model.training and model[3].training
    assert (model[4].weight.grad == 7).all() and model[4].bias.grad is None
    assert torch.equal(random, torch.random.get_rng_state())


def test_gradients_are_taken_in_eval_mode():
    """Dropout would make them chance."""
    model = nn.Sequential(nn.Linear(2, 4), nn.Dropout(0.9), nn.Linear(4, 1)).train()
    calibration = Calibration([X], mean_output)
    orders = [
        Prunable.of(model, X[:1], importance=TaylorImportance(), calibration=calibration).ranking["0"].scores
        for _ in range(3)
    ]
    assert all(torch.equal(orders[0], scores) for scores in orders)


def test_a_loss_that_is_no_number_is_refused(summed):
    losses = {
        r"a tensor of shape \(2,\); expected": lambda model, x: F.relu(model(x)).flatten(),
        r"3\.0; expected": lambda model, x: 3.0,
        "without gradient": lambda model, x: model(x).mean().detach(),
    }
    for message, loss in losses.items():
        with pytest.raises(InputError, match=message):
            scores(TaylorImportance(), summed, Calibration([X], loss))


def test_an_output_without_gradient_is_refused(summed):
    class Rounded(nn.Sequential):
        def forward(self, x):
            return super().forward(x).detach()

    with pytest.raises(InputError, match="no gradient flows to the model's output; give a loss_fn"):
        scores(FisherImportance(), Rounded(*summed), Calibration([X]))


def test_criteria_by_name():
    assert {name for name in CRITERIA if needs_gradients(criterion_named(name))} == {"taylor", "fisher", "hessian"}
    assert isinstance(criterion_named("l1"), MagnitudeImportance) and criterion_named("l1").p == 1
    with pytest.raises(InputError, match="importance is 'l3'; choose one of l1, l2, taylor, fisher, hessian"):
        criterion_named("l3")
