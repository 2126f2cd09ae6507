import pytest
import torch

from deploy_prune.errors import InputError
from deploy_prune.importance import MagnitudeImportance, normalize, reduce
from deploy_prune.importance.reduction import normalize_rows

LAYERS = torch.tensor([[1.0, 2.0], [5.0, 3.0], [3.0, 4.0]])  # three weights, two units


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("sum", [9, 9]),
        ("mean", [3, 3]),
        ("max", [5, 4]),
        ("prod", [15, 24]),
        ("first", [1, 2]),
        ("gate", [3, 4]),
        (None, [[1, 2], [5, 3], [3, 4]]),
    ],
)
def test_reductions_by_hand(how, expected):
    assert reduce(LAYERS, how).tolist() == expected


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        (None, [1, 4, 3, 2]),
        ("none", [1, 4, 3, 2]),
        ("sum", [0.1, 0.4, 0.3, 0.2]),
        ("mean", [0.4, 1.6, 1.2, 0.8]),
        ("max", [0.25, 1, 0.75, 0.5]),
        ("gaussian", [-1.5 / 1.25**0.5, 1.5 / 1.25**0.5, 0.5 / 1.25**0.5, -0.5 / 1.25**0.5]),
        ("standardization", [0, 1, 2 / 3, 1 / 3]),
        ("standarization", [0, 1, 2 / 3, 1 / 3]),
        ("lamp", [1 / 10, 1, 3 / 7, 2 / 9]),
        ("sentinel_0.5", [1 / 3, 4 / 3, 1, 2 / 3]),  # the score at index 0.5 * 4 = 2 of 1, 2, 3, 4
        ("sentinel_1", [0.25, 1, 0.75, 0.5]),
        (torch.sqrt, [1, 2, 3**0.5, 2**0.5]),
    ],
)
def test_normalizers_by_hand(how, expected):
    assert normalize(torch.tensor([1.0, 4.0, 3.0, 2.0]), how).tolist() == pytest.approx(expected)


def test_lamp_breaks_ties_by_position():
    assert normalize(torch.tensor([2.0, 2.0]), "lamp").tolist() == [0.5, 1]


@pytest.mark.parametrize("how", ["sum", "mean", "max", "gaussian", "standardization", "lamp", "sentinel_0.5"])
def test_a_group_of_zeros_stays_finite(how):
    assert normalize(torch.zeros(3), how).tolist() == [0, 0, 0]


@pytest.mark.parametrize("how", ["tall", "sentinel", "sentinel_x", "sentinel_2", 3])
def test_unknown_normalizers_are_refused_at_once(how):
    with pytest.raises(InputError, match=f"normalizer is {how!r}; choose from None, none, sum, .*or give a function"):
        MagnitudeImportance(normalizer=how)


def test_unknown_reductions_are_refused_at_once():
    with pytest.raises(InputError, match="group_reduction is 'middle'; choose from sum, mean, max, prod, first, gate"):
        MagnitudeImportance(group_reduction="middle")


@pytest.mark.parametrize("how", [None, "sum", "mean", "max", "gaussian", "standardization", "lamp", "sentinel_0.5"])
def test_rows_are_normalized_one_by_one(how):
    scores = torch.tensor([[1.0, 3.0, 2.0], [10.0, 10.0, 40.0], [0.0, 0.0, 0.0]])
    expected = torch.stack([normalize(row, how) for row in scores])
    assert torch.allclose(normalize_rows(scores, how), expected)
