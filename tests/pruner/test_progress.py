"""Many small removals are one large one: whatever the order, the model is what a single plan makes of the dense one."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from torch import nn
from zoo.topologies import build

from deploy_prune.errors import PlanError
from deploy_prune.pruner import DependencyGraph, apply_plan, verify

IMAGES = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
MANY = ["Residual", "Concat", "ChunkWithSplit", "UnequalSplit", "Grouped", "GroupNorms", "Flatten", "Shuffle", "Lstm"]
HEADS = ["SeparateProjections", "FusedChunks", "FusedThreeHeadsInner", "RotaryHalves", "ModuleAttention"]


def graph_of(model):
    return DependencyGraph().build_dependency(model, IMAGES)


def random_units(group, chance):
    """Up to half of the group's units, other ones in each row."""
    count = int(chance.integers(0, group.width // 2 + 1))
    return np.stack([chance.permutation(group.width)[:count] for _ in range(group.rows)])


def same(a, b):
    a, b = a.state_dict(), b.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(name=st.sampled_from([*MANY, *HEADS]), seed=st.integers(0, 10_000), steps=st.integers(1, 3))
@example(name="Grouped", seed=3, steps=3)  # one input per group after the second step, and then outputs go
def test_steps_in_any_order_are_one_plan(name, seed, steps):
    model, chance = build(name), np.random.default_rng(seed)
    pruned = copy.deepcopy(model)
    graph = graph_of(pruned)
    for _ in range(steps):
        groups = list(graph.get_all_groups(kinds=("channels", "heads", "groups")))
        for k in chance.permutation(len(groups)):
            group = groups[k]  # found before the others went: it is read off the model as it is now
            width, units = group.width, random_units(group, chance)
            removal = group.choose(units)
            try:
                removal.prune()
            except PlanError:  # heads and their inner indices together may leave nothing; then nothing happens
                assert group.width == width
            else:
                assert group.width == width - units.shape[1]
                assert removal.units.size == 0  # what is gone is no longer asked for
    assert same(pruned, apply_plan(model, graph.plan))
    pruned(IMAGES)


@pytest.mark.parametrize("name", ["ChunkWithSplit", "SeparateProjections", "GroupNorms"])
def test_rows_that_lose_different_indices_in_two_steps_are_exact(name):
    model, chance = build(name), np.random.default_rng(3)
    pruned = copy.deepcopy(model)
    graph = graph_of(pruned)
    for _ in range(2):
        group = next(g for g in graph.get_all_groups() if g.rows > 1)
        group.choose(np.stack([chance.permutation(group.width)[:1] for _ in range(group.rows)])).prune()
    assert group.rows > 1
    verify(model, pruned, graph.plan, IMAGES)


def test_heads_and_then_inner_indices():
    model = build("SeparateProjections")
    pruned = copy.deepcopy(model)
    graph = graph_of(pruned)
    heads, inner = graph.group("body.q:heads"), graph.group("body.q")
    assert (heads.width, inner.rows, inner.width) == (4, 8, 4)
    heads.choose([1]).prune()
    assert (heads.width, inner.rows, inner.width) == (3, 6, 4)
    inner.choose(np.array([[0], [1], [2], [3], [0], [1]])).prune()
    assert (heads.width, inner.rows, inner.width) == (3, 6, 3)
    assert pruned.body.q.out_features == 9
    verify(model, pruned, graph.plan, IMAGES)
    assert next(d.tensor.shape[0] for d, _ in heads.slices() if d.target.name == "body.q") == 9


def test_what_is_not_there_is_refused():
    graph = graph_of(build("ChunkWithSplit"))
    with pytest.raises(PlanError, match=r"group body\.cv1\.0 has 2 rows, got indices of shape \(3, 1\); give one row"):
        graph.prune({"body.cv1.0": [[0], [1], [2]]})
    with pytest.raises(PlanError, match="names an index twice; every row must lose equally many"):
        graph.prune({"body.cv1.0": [[0, 0], [1, 2]]})
    with pytest.raises(PlanError, match="has units 0 to 7, got 2 to 8"):
        graph.prune({"body.cv1.0": [[2], [8]]})


def test_a_model_changed_behind_the_graph_is_refused():
    model = build("Residual")
    graph = graph_of(model)
    graph.group("body.a.0").choose([3]).prune()
    model.body.a[0].weight = torch.nn.Parameter(model.body.a[0].weight[1:])
    with pytest.raises(PlanError, match="the plan was made for another architecture"):
        graph.group("body.a.0").choose([0]).prune()


def test_depthwise_layers_that_share_a_weight_lose_the_same_groups():
    first, second = (nn.Conv2d(8, 16, 3, padding=1, groups=8, bias=False) for _ in range(2))
    second.weight = first.weight
    model = nn.Sequential(nn.Conv2d(3, 8, 1), first, nn.Conv2d(16, 8, 1), second, nn.Conv2d(16, 4, 1))
    pruned = copy.deepcopy(model)
    graph = graph_of(pruned)
    plan = graph.prune({group.name: [0, 3] for group in graph.units.groups})
    assert (pruned[1].groups, pruned[3].groups) == (6, 6) and pruned[1].weight is pruned[3].weight
    verify(model, pruned, plan, IMAGES)
