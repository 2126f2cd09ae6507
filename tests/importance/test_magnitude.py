import pytest
import torch
from torch import nn

from deploy_prune.errors import InputError
from deploy_prune.importance import (
    BNScaleImportance,
    GroupMagnitudeImportance,
    LAMPImportance,
    MagnitudeImportance,
)
from deploy_prune.pruner import DependencyGraph


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"p": 1}, [(3 + 5) / 2, (7 + 6) / 2]),
        ({"p": 2}, [(5 + 25) / 2, (25 + 36) / 2]),
        ({"p": 3}, [(9 + 125) / 2, (91 + 216) / 2]),
        ({"p": 1, "group_reduction": "sum"}, [8, 13]),
        ({"p": 1, "group_reduction": "max"}, [5, 7]),
        ({"p": 1, "group_reduction": "prod"}, [15, 42]),
        ({"p": 1, "group_reduction": "first"}, [3, 7]),
        ({"p": 1, "group_reduction": "gate"}, [5, 6]),
        ({"p": 1, "group_reduction": None}, [[3, 7], [5, 6]]),
        ({"p": 1, "bias": True}, [(3 + 7 + 5) / 3, (7 + 8 + 6) / 3]),
    ],
)
def test_by_hand(two_layers, group_of, arguments, expected):
    scores = MagnitudeImportance(normalizer=None, **arguments)(group_of(two_layers, torch.rand(1, 2)))
    assert torch.allclose(scores, torch.tensor(expected, dtype=torch.float32))


def test_the_default_is_l2_over_the_groups_mean(two_layers, group_of):
    assert GroupMagnitudeImportance()(group_of(two_layers, torch.rand(1, 2))).tolist() == pytest.approx(
        [15 / 22.75, 30.5 / 22.75]
    )


def test_both_halves_of_a_chunk_are_one_slice(group_of):
    class Halves(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(1, 4, bias=False), nn.Linear(2, 1)

        def forward(self, x):
            left, right = self.a(x).chunk(2, 1)
            return self.b(left * right)

    model = Halves()
    with torch.no_grad():
        model.a.weight.copy_(torch.tensor([[1.0], [2.0], [3.0], [4.0]]))
        model.b.weight.copy_(torch.tensor([[5.0, 6.0]]))
    scores = MagnitudeImportance(p=1, normalizer=None)(group_of(model, torch.rand(1, 1)))
    assert scores.tolist() == [(1 + 3 + 5) / 2, (2 + 4 + 6) / 2]


def test_a_chosen_part_of_the_units(two_layers):
    graph = DependencyGraph().build_dependency(two_layers, torch.rand(1, 2))
    group = graph.get_pruning_group(two_layers[0], idxs=[1])
    assert MagnitudeImportance(p=1, normalizer=None)(group).tolist() == [6.5]


@pytest.fixture
def with_norm():
    """Two channels: a convolution with filters 1, 2, a batch norm with scales -3, 0.5, and a reader."""
    model = nn.Sequential(nn.Conv2d(1, 2, 1, bias=False), nn.BatchNorm2d(2), nn.Conv2d(2, 1, 1))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([1.0, 2.0]).view(2, 1, 1, 1))
        model[1].weight.copy_(torch.tensor([-3.0, 0.5]))
    return model


def test_batch_norm_scale_by_hand(with_norm, group_of):
    group = group_of(with_norm, torch.rand(2, 1, 4, 4))
    assert BNScaleImportance(normalizer=None)(group).tolist() == [3, 0.5]
    assert BNScaleImportance()(group).tolist() == pytest.approx([3 / 1.75, 0.5 / 1.75])
    same = MagnitudeImportance(p=1, normalizer=None, target_types=[nn.BatchNorm2d])
    assert same(group).tolist() == [3, 0.5]


def test_without_batch_norm_there_is_no_scale(two_layers, group_of):
    assert BNScaleImportance()(group_of(two_layers, torch.rand(1, 2))) is None


def test_lamp_by_hand(two_layers, group_of):
    group = group_of(two_layers, torch.rand(1, 2))
    assert LAMPImportance(p=1)(group).tolist() == pytest.approx([4 / (4 + 6.5), 1])
    with pytest.raises(InputError, match="LAMPImportance normalizes by 'lamp', not 'mean'; use GroupMagnitude"):
        LAMPImportance(normalizer="mean")
