import pytest
import torch
from torch import nn

from deploy_prune.importance import FPGMImportance


@pytest.fixture
def model():
    """Filters (0, 0), (3, 4) and (6, 8) on a line; the reader's columns are 0, 1 and 3."""
    model = nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3), nn.Linear(3, 1))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[0.0, 0.0], [3.0, 4.0], [6.0, 8.0]]))
        model[2].weight.copy_(torch.tensor([[0.0, 1.0, 3.0]]))
    return model


def test_euclidean_distances_by_hand(model, group_of):
    group = group_of(model, torch.rand(1, 2))
    first = FPGMImportance(group_reduction="first", normalizer=None)
    assert first(group).tolist() == [5 + 10, 5 + 5, 10 + 5]
    both = FPGMImportance(group_reduction="sum", normalizer=None)
    assert both(group).tolist() == [15 + 1 + 3, 10 + 1 + 2, 15 + 3 + 2]


def test_city_block_distances_by_hand(model, group_of):
    scores = FPGMImportance(p=1, group_reduction="first", normalizer=None)(group_of(model, torch.rand(1, 2)))
    assert scores.tolist() == [7 + 14, 7 + 7, 14 + 7]


def test_the_middle_goes_first_though_it_is_not_the_smallest(model, group_of):
    assert FPGMImportance()(group_of(model, torch.rand(1, 2))).argmin() == 1
