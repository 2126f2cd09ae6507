"""Rows ranked by themselves: by hand, and that no other choice of equal counts removes less."""

import itertools

import pytest
import torch
from torch import nn
from zoo.topologies import build

from deploy_prune.errors import InputError
from deploy_prune.importance import MagnitudeImportance
from deploy_prune.pruner import DependencyGraph, rank

IMAGES = torch.rand(2, 3, 16, 16)


class Halves(nn.Module):
    """Two halves of one layer that are concatenated again: each may lose other indices."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(1, 6, bias=False), nn.Linear(6, 1, bias=False)

    def forward(self, x):
        left, right = self.a(x).chunk(2, 1)
        return self.b(torch.cat([left, right.relu()], 1))


def halves(weights):
    model = Halves()
    with torch.no_grad():
        model.a.weight.copy_(torch.tensor(weights)[:, None])
        model.b.weight.zero_()
    return model, DependencyGraph().build_dependency(model, torch.rand(2, 1)).group("a")


def test_bundles_by_hand():
    _, group = halves([1.0, 2.0, 9.0, 6.0, 3.0, 4.0])
    assert group.rows == 2
    ranking = rank(group, MagnitudeImportance(p=1, group_reduction="sum", normalizer=None))
    assert ranking.order.tolist() == [[0, 1, 2], [1, 2, 0]]
    assert ranking.scores.tolist() == [(1 + 3) / 2, (2 + 4) / 2, (9 + 6) / 2]
    assert ranking.least(2).tolist() == [[0, 1], [1, 2]]


def test_each_half_keeps_its_own_important_channels():
    model, group = halves([1.0, 2.0, 9.0, 6.0, 3.0, 4.0])
    group.choose(rank(group, MagnitudeImportance(p=1)).least(2)).prune()
    assert model.a.weight.flatten().tolist() == [9.0, 6.0]
    assert model.b.in_features == 2


def test_no_other_choice_removes_less():
    weights = torch.rand(6, generator=torch.Generator().manual_seed(1)).tolist()
    _, group = halves(weights)
    ranking = rank(group, MagnitudeImportance(p=1, group_reduction="sum", normalizer=None))
    for count in range(1, 3):
        chosen = sum(weights[3 * r + u] for r, row in enumerate(ranking.least(count)) for u in row)
        others = itertools.product(*[itertools.combinations(weights[3 * r : 3 * r + 3], count) for r in range(2)])
        assert chosen == pytest.approx(min(sum(map(sum, pick)) for pick in others))


def test_without_rows_units_are_sorted():
    group = DependencyGraph().build_dependency(build("Residual"), IMAGES).group("body.a.0")
    scores = torch.rand(24)
    ranking = rank(group, lambda _: scores)
    assert ranking.order.tolist() == [scores.argsort().tolist()]
    assert torch.equal(ranking.scores, scores.sort().values)
    assert rank(group, lambda _: None) is None
    assert rank(group, lambda _: 2.0).order.tolist() == [list(range(24))]


def test_scores_per_channel_of_the_root_are_averaged_over_a_unit():
    group = DependencyGraph().build_dependency(build("FusedThreeHeadsInner"), IMAGES).group("body.qkv:heads")
    assert len(group[0].idxs) == 48 and group.width == 4
    ranking = rank(group, lambda g: torch.tensor(g[0].idxs, dtype=torch.float32))
    assert ranking.order.tolist() == [[0, 1, 2, 3]]
    with pytest.raises(InputError, match=r"returned shape \(5,\) for group body\.qkv:heads of 4 units \(48 channels\)"):
        rank(group, lambda _: torch.rand(5))
