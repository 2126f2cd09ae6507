import dataclasses

import numpy as np
import pytest
import torch
from torch import nn
from zoo.topologies import build

from deploy_prune.count import count
from deploy_prune.errors import InputError
from deploy_prune.latency.tables import CostTables
from deploy_prune.search.loss import importance_menu, work_share
from deploy_prune.search.prunable import MAX_CHOICES, Prunable
from deploy_prune.search.solver import solve

IMAGES = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def two_layers():
    """One hidden layer of four units; the importance (weights p=2, mean over both layers) is 1, 4, 9, 16."""
    model = nn.Sequential(nn.Linear(1, 4, bias=False), nn.Linear(4, 1, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0], [2.0], [3.0], [4.0]]))
        model[1].weight.copy_(torch.tensor([[1.0, 2.0, 3.0, 4.0]]))
    return Prunable.of(model.eval(), torch.ones(1, 1))


def price(prunable, widths):
    return importance_menu(prunable, widths, count(prunable.model, prunable.example_inputs))


def test_importance_removed_by_hand(two_layers):
    """The only group touches all of the model's work."""
    assert price(two_layers, {"0": (1, 2, 4)}).loss["0"] == pytest.approx((14 / 30, 5 / 30, 0))


def test_importance_counts_from_where_the_search_begins(two_layers):
    """Two units are gone already: of the 30 parts 5 are no loss any more."""
    assert price(two_layers, {"0": (1, 2)}).loss["0"] == pytest.approx((9 / 30, 0))


@pytest.fixture
def large_and_small():
    """2 -> 8 -> 4 -> 3: products of 16, 32 and 12; the group of 8 touches 48 of 60, that of 4 touches 44."""
    torch.manual_seed(0)
    return Prunable.of(
        nn.Sequential(*(nn.Linear(a, b, bias=False) for a, b in ((2, 8), (8, 4), (4, 3)))), torch.rand(1, 2)
    )


def test_work_that_a_group_touches_by_hand(large_and_small):
    counted = count(large_and_small.model, large_and_small.example_inputs)
    assert [work_share(large_and_small, g, counted) for g in ("0", "1")] == pytest.approx([48 / 60, 44 / 60])
    menu = importance_menu(large_and_small, {"0": (4, 8), "1": (2, 4)}, counted)
    scores = large_and_small.ranking["1"].scores
    assert menu.loss["1"] == pytest.approx((44 / 60 * float(scores[:2].sum() / scores.sum()), 0))


def test_work_of_part_of_an_axis():
    """A concatenation: each half touches half of the layer that reads both."""

    class Halves(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.end = (
                nn.Linear(2, 4, bias=False),
                nn.Linear(2, 4, bias=False),
                nn.Linear(8, 1, bias=False),
            )

        def forward(self, x):
            return self.end(torch.cat([self.a(x), self.b(x)], 1))

    prunable = Prunable.of(Halves(), torch.rand(1, 2))
    counted = count(prunable.model, prunable.example_inputs)
    assert work_share(prunable, "a", counted) == pytest.approx((8 + 4) / 24)


def test_a_group_without_products_counts_by_parameters(large_and_small):
    counted = count(large_and_small.model, large_and_small.example_inputs)
    elsewhere = dataclasses.replace(counted, weights={"2.weight": 12})
    assert work_share(large_and_small, "0", elsewhere) == pytest.approx(48 / 60)
    assert work_share(large_and_small, "1", elsewhere) == 1


def test_of_groups_that_save_the_same_the_one_of_less_work_goes(large_and_small):
    """Equal importance, equal seconds saved: what decides is the work that stays."""
    for layer in large_and_small.model:
        layer.weight.data.fill_(1.0)
    even = Prunable.of(large_and_small.model, torch.rand(1, 2))
    widths = {"0": (4, 8), "1": (2, 4)}
    tables = CostTables(widths, 1.0, {g: np.array([0.0, 1.0]) for g in widths}, {})
    assert solve(price(even, widths), tables, 2.0).widths == {"0": 8, "1": 2}


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
