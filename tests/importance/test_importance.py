import pytest
import torch
from torch import nn

from deploy_prune.errors import InputError
from deploy_prune.importance import MagnitudeImportance, RandomImportance, normalize, reduce
from deploy_prune.pruner import DependencyGraph


@pytest.fixture
def group():
    """Linear(2 -> 2) and Linear(2 -> 1): rows [1, 2] and [3, 4] of the first, columns 5 and 6 of the second."""
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0, -2.0], [3.0, 4.0]]))
        model[0].bias.copy_(torch.tensor([7.0, 8.0]))
        model[2].weight.copy_(torch.tensor([[5.0, -6.0]]))
    return next(DependencyGraph().build_dependency(model, torch.rand(1, 2)).get_all_groups())


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"p": 1}, [(3 + 5) / 2, (7 + 6) / 2]),
        ({"p": 2}, [(5 + 25) / 2, (25 + 36) / 2]),
        ({"p": 1, "group_reduction": "sum"}, [8, 13]),
        ({"p": 1, "group_reduction": "max"}, [5, 7]),
        ({"p": 1, "group_reduction": "prod"}, [15, 42]),
        ({"p": 1, "group_reduction": "first"}, [3, 7]),
        ({"p": 1, "bias": True}, [(3 + 7 + 5) / 3, (7 + 8 + 6) / 3]),
    ],
)
def test_magnitude_by_hand(group, arguments, expected):
    assert MagnitudeImportance(normalizer=None, **arguments)(group).tolist() == pytest.approx(expected)


def test_both_halves_of_a_chunk_count():
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
    (group,) = DependencyGraph().build_dependency(model, torch.rand(1, 1)).get_all_groups()
    assert MagnitudeImportance(p=1, normalizer=None)(group).tolist() == pytest.approx(
        [(1 + 3 + 5) / 3, (2 + 4 + 6) / 3]
    )


def test_normalizers_by_hand():
    scores = torch.tensor([1.0, 3.0])
    assert normalize(scores, "mean").tolist() == [0.5, 1.5]
    assert normalize(scores, "sum").tolist() == [0.25, 0.75]
    assert normalize(scores, "max").tolist() == pytest.approx([1 / 3, 1])
    assert normalize(scores, "gaussian").tolist() == pytest.approx([-1, 1])
    assert normalize(scores, None).tolist() == [1, 3]


def test_unknown_names_are_refused():
    with pytest.raises(InputError, match="group_reduction is 'middle'; choose from sum, mean"):
        reduce(torch.rand(2, 2), "middle")
    with pytest.raises(InputError, match="normalizer is 'tall'; choose from None"):
        normalize(torch.rand(2), "tall")


def test_random_scores_repeat_with_the_seed(group):
    torch.manual_seed(3)
    first = RandomImportance()(group)
    torch.manual_seed(3)
    assert torch.equal(first, RandomImportance()(group)) and first.shape == (2,)
