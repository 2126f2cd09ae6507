import pytest
import torch
from torch import nn

from deploy_prune.errors import InputError
from deploy_prune.importance import GroupTaylorImportance, TaylorImportance
from deploy_prune.pruner import DependencyGraph


@pytest.fixture
def learned(two_layers):
    """With x = (1, 2) and loss = output: hidden units are 1 - 4 + 7 = 4 and 3 + 8 + 8 = 19, both on.

    Gradients: first weight [[5, 10], [-6, -12]], first bias [5, -6], second weight [4, 19].
    """
    two_layers(torch.tensor([[1.0, 2.0]])).sum().backward()
    return two_layers


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        # first: |1*5| + |-2*10| and |3*-6| + |4*-12|; second: |5*4| and |-6*19|
        ({"group_reduction": None}, [[25, 66], [20, 114]]),
        ({"group_reduction": "mean"}, [22.5, 90]),
        ({"group_reduction": None, "multivariable": True}, [[15, 66], [20, 114]]),
        ({"group_reduction": None, "bias": True}, [[25, 66], [35, 48], [20, 114]]),
        ({"normalizer": "sum"}, [22.5 / 112.5, 90 / 112.5]),
    ],
)
def test_by_hand(learned, group_of, arguments, expected):
    scores = GroupTaylorImportance(**{"normalizer": None, **arguments})(group_of(learned, torch.rand(1, 2)))
    assert torch.allclose(scores, torch.tensor(expected, dtype=torch.float32))


def test_it_is_the_change_of_the_loss_where_the_loss_is_linear(learned, group_of):
    """The output is linear in the second weight: removing a unit changes it by exactly |w * dw|."""
    inputs = torch.tensor([[1.0, 2.0]])
    before = learned(inputs).item()
    scores = TaylorImportance(group_reduction="gate", normalizer=None)(group_of(learned, inputs))
    for unit, score in enumerate(scores.tolist()):
        with torch.no_grad():
            kept = learned[2].weight.clone()
            learned[2].weight[0, unit] = 0
            assert abs(learned(inputs).item() - before) == pytest.approx(score)
            learned[2].weight.copy_(kept)


def test_scoring_leaves_gradients_alone(learned, group_of):
    before = [p.grad.clone() for p in learned.parameters()]
    TaylorImportance()(group_of(learned, torch.rand(1, 2)))
    assert all(torch.equal(b, p.grad) for b, p in zip(before, learned.parameters(), strict=True))


def test_frozen_parameters_do_not_count(two_layers, group_of):
    two_layers[0].requires_grad_(False)
    two_layers(torch.tensor([[1.0, 2.0]])).sum().backward()
    scores = TaylorImportance(normalizer=None)(group_of(two_layers, torch.rand(1, 2)))
    assert scores.tolist() == [20, 114]


def test_missing_gradients_are_named(two_layers, group_of):
    with pytest.raises(InputError, match=r"^0\.weight has no gradient, .*call loss\.backward\(\) before scoring"):
        TaylorImportance()(group_of(two_layers, torch.rand(1, 2)))


def test_gradients_follow_a_pruning_step():
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    model(torch.rand(2, 3)).sum().backward()
    graph = DependencyGraph().build_dependency(model, torch.rand(1, 3))
    (group,) = graph.get_all_groups()
    before = TaylorImportance(normalizer=None)(group)
    group.prune([1])
    (group,) = graph.get_all_groups()
    assert torch.allclose(TaylorImportance(normalizer=None)(group), before[[0, 2, 3]])
