import pytest
import torch
from torch import nn
from zoo.topologies import build

from deploy_prune.errors import InputError
from deploy_prune.pruner import apply_plan
from deploy_prune.search.loss import divergence_menu, importance_menu
from deploy_prune.search.prunable import MAX_CHOICES, Prunable

IMAGES = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def two_layers():
    """One hidden layer of four units; the importance (weights p=2, mean over both layers) is 1, 4, 9, 16."""
    model = nn.Sequential(nn.Linear(1, 4, bias=False), nn.Linear(4, 1, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0], [2.0], [3.0], [4.0]]))
        model[1].weight.copy_(torch.tensor([[1.0, 2.0, 3.0, 4.0]]))
    return Prunable.of(model.eval(), torch.ones(1, 1))


def test_importance_removed_by_hand(two_layers):
    menu = importance_menu(two_layers, {"0": (1, 2, 4)})
    assert menu.loss["0"] == pytest.approx((14 / 30, 5 / 30, 0))


def test_divergence_by_hand(two_layers):
    """The output is 1 + 4 + 9 + 16 = 30 times the input; what is removed is missing from it."""
    before = [p.clone() for p in two_layers.model.parameters()]
    menu = divergence_menu(two_layers, {"0": (1, 2, 4)}, torch.tensor([[1.0], [3.0]]))
    assert menu.loss["0"] == pytest.approx(((14 / 30) ** 2, (5 / 30) ** 2, 0))
    assert all(torch.equal(a, b) for a, b in zip(before, two_layers.model.parameters(), strict=True))


def test_divergence_is_that_of_the_pruned_network():
    prunable = Prunable.of(build("ChunkWithSplit"), IMAGES)
    menu = divergence_menu(prunable, {"body.cv1.0": (3, 8)}, IMAGES)
    with torch.no_grad():
        dense, pruned = prunable.model(IMAGES), apply_plan(prunable.model, prunable.plan({"body.cv1.0": 3}))(IMAGES)
    assert menu.loss["body.cv1.0"][0] == pytest.approx(
        float(((dense - pruned) ** 2).sum() / (dense**2).sum()), rel=1e-4
    )


def test_menu_widths_are_on_the_steps_and_not_too_many():
    prunable = Prunable.of(nn.Sequential(nn.Linear(4, 100), nn.ReLU(), nn.Linear(100, 2)), torch.rand(1, 4))
    assert prunable.menu_widths(16) == {"0": (16, 32, 48, 64, 80, 96, 100)}
    assert len(prunable.menu_widths(1)["0"]) <= MAX_CHOICES
    halves = Prunable.of(build("ChunkWithSplit"), IMAGES)
    assert halves.menu_widths(4)["body.cv1.0"] == (4, 8)


def test_the_least_important_units_go_first(two_layers):
    assert two_layers.build({"0": 3})[0].weight.flatten().tolist() == [2, 3, 4]


def test_a_model_of_which_nothing_can_go_is_refused():
    with pytest.raises(InputError, match=r"nothing of the model can be removed .*reaches the model's output"):
        Prunable.of(nn.Linear(4, 2), torch.rand(1, 4))
