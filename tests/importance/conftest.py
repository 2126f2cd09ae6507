import pytest
import torch
from torch import nn

from deploy_prune.pruner import DependencyGraph


@pytest.fixture
def group_of():
    """``group_of(model, *inputs)``: the one group of a model."""

    def only(model, *inputs):
        (group,) = DependencyGraph().build_dependency(model, inputs).get_all_groups()
        return group

    return only


@pytest.fixture
def two_layers():
    """Linear(2 -> 2) and Linear(2 -> 1): rows [1, -2] and [3, 4] of the first, columns 5 and -6 of the second."""
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0, -2.0], [3.0, 4.0]]))
        model[0].bias.copy_(torch.tensor([7.0, 8.0]))
        model[2].weight.copy_(torch.tensor([[5.0, -6.0]]))
        model[2].bias.zero_()
    return model
