"""Who competes with whom: ratios by layer and scope, isomorphic groups, heads, limits; and steps that end exactly."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn
from zoo.topologies import build

import deploy_prune as tp
from deploy_prune.errors import InputError
from deploy_prune.pruner.scopes import structure

IMAGES = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))


class Chain(nn.Module):
    """Four convolutions in a row, two with batch norm."""

    def __init__(self, widths=(16, 16, 16, 16)):
        super().__init__()
        a, b, c, d = widths
        self.a, self.b = nn.Conv2d(3, a, 3), nn.Conv2d(a, b, 3)
        self.c, self.d = (
            nn.Sequential(nn.Conv2d(b, c, 3), nn.BatchNorm2d(c)),
            nn.Sequential(nn.Conv2d(c, d, 3), nn.BatchNorm2d(d)),
        )
        self.head = nn.Conv2d(d, 2, 1)

    def forward(self, x):
        for layer in (self.a, self.b, self.c, self.d):
            x = layer(x).relu()
        return self.head(x)

    @property
    def widths(self):
        return [self.a.out_channels, self.b.out_channels, self.c[0].out_channels, self.d[0].out_channels]


SCALES = {"a": 1.0, "b": 2.0, "c.0": 3.0, "d.0": 4.0}


def by_layer(group):
    """Units of ``a`` are the least important, then those of ``b`` and so on; within a layer the later channels."""
    return SCALES[group.name] - torch.arange(group.width) / group.width


def pruned(model=None, **arguments):
    model = model or Chain()
    tp.pruner.BasePruner(model, IMAGES, by_layer, **arguments).step()
    return model.widths


def test_local_and_global():
    assert pruned(pruning_ratio=0.25) == [12, 12, 12, 12]
    assert pruned(pruning_ratio=0.25, global_pruning=True) == [1, 15, 16, 16]
    assert pruned(pruning_ratio=0.25, global_pruning=True, max_pruning_ratio=0.5) == [8, 8, 16, 16]
    assert pruned(pruning_ratio=0.75, max_pruning_ratio=0.5) == [8, 8, 8, 8]


def test_isomorphic_groups_compete_among_themselves():
    assert pruned(pruning_ratio=0.25, global_pruning=True, isomorphic=True) == [8, 16, 8, 16]
    assert pruned(pruning_ratio=0.25, isomorphic=True) == [12, 12, 12, 12]  # without global pruning each by itself
    graph = tp.DependencyGraph().build_dependency(Chain(), IMAGES)
    a, b, c, d = (structure(group) for group in graph.get_all_groups())
    assert a == b and c == d and a != c


def test_modules_of_one_key_share_a_ratio():
    model = Chain()
    scopes = {(model.a, model.b): 0.5, model.c: 0.25}
    widths = pruned(model, pruning_ratio=0.5, pruning_ratio_dict=scopes, global_pruning=True)
    assert widths == [1, 15, 12, 8]
    model = Chain()
    assert pruned(model, pruning_ratio=0.5, pruning_ratio_dict={(model.a, model.b): 0.25}) == [12, 12, 8, 8]
    model = Chain()
    assert pruned(model, pruning_ratio={model: 0.5, model.c[0]: 0.25}) == [8, 8, 12, 8]  # the innermost wins
    assert pruned(ch_sparsity=0.25) == [12, 12, 12, 12]
    model = Chain()
    assert pruned(model, ch_sparsity=0.25, ch_sparsity_dict={model.d: 0.5}) == [12, 12, 12, 8]


def test_a_named_layer_anywhere_in_the_group_counts():
    model = build("Residual")
    tp.pruner.BasePruner(model, IMAGES, pruning_ratio={model.body.b: 0.5}).step()
    assert (model.stem[0].out_channels, model.body.a[0].out_channels) == (8, 24)


def test_ignored_layers_types_and_parameters():
    model = Chain()
    ignored = [model.a, model.b.weight]
    assert pruned(model, pruning_ratio=0.5, ignored_layers=ignored) == [16, 16, 8, 8]
    assert pruned(pruning_ratio=0.5, ignored_layers=[nn.Sequential]) == [8, 8, 16, 16]
    assert pruned(pruning_ratio=0.5, root_module_types=[nn.Linear]) == [16, 16, 16, 16]


@pytest.mark.parametrize("steps", [1, 3])
def test_heads_and_their_dimensions(steps):
    def widths(**arguments):
        model = build("SeparateProjections")
        heads = {model.body.q: 4}
        pruner = tp.pruner.BasePruner(model, IMAGES, iterative_steps=steps, num_heads=heads, **arguments)
        for _ in range(steps):
            pruner.step()
        model(IMAGES)
        assert heads == {model.body.q: 4}  # the user's own dict is not written to
        return model.body.q.out_features, pruner.num_heads[model.body.q]

    assert widths(pruning_ratio=0.5) == (8, 4)
    assert widths(pruning_ratio=0.5, prune_head_dims=False) == (16, 4)
    assert widths(pruning_ratio=0.5, prune_head_dims=False, prune_num_heads=True, head_pruning_ratio=0.5) == (8, 2)
    assert widths(pruning_ratio=0.5, prune_num_heads=True, head_pruning_ratio=0.5) == (4, 2)


def test_head_ratios_by_module():
    model = build("SeparateProjections")
    pruner = tp.pruner.BasePruner(
        model, IMAGES, pruning_ratio=0.0, prune_num_heads=True, head_pruning_ratio_dict={model.body: 0.25}
    )
    pruner.step()
    assert model.body.q.out_features == 12
    assert pruner.get_target_head_pruning_ratio(model.body.q) == 0.25
    assert pruner.get_target_head_pruning_ratio(model.head) == 0.0


def test_targets_and_reset():
    model = Chain()
    pruner = tp.pruner.BasePruner(
        model, IMAGES, pruning_ratio=0.5, pruning_ratio_dict={model.a: 0.25}, iterative_steps=5, max_pruning_ratio=0.4
    )
    assert pruner.get_target_pruning_ratio(model.b) == 0
    pruner.step()
    assert pruner.get_target_pruning_ratio(model.b) == 0.1
    assert pruner.get_target_pruning_ratio(model.b, step=5) == 0.4
    assert pruner.get_target_pruning_ratio(model.a, step=5) == 0.25
    pruner.reset()
    assert pruner.current_step == 0
    for _ in range(5):
        pruner.step()
    assert model.widths == [12, 9, 9, 9] or model.widths == [12, 10, 10, 10]


def test_one_layer_by_hand():
    model = Chain()
    pruner = tp.pruner.BasePruner(model, IMAGES, by_layer)
    pruner.manual_prune_width(model.a, tp.prune_conv_out_channels, 0.25)
    pruner.manual_prune_width(model.c[0], tp.prune_conv_in_channels, [0, 3])
    assert model.widths == [12, 14, 16, 16]


RISING = {
    "linear": tp.pruner.linear_scheduler,
    "late": lambda ratio, steps: [ratio * (k / steps) ** 3 for k in range(steps + 1)],
    "at once": lambda ratio, steps: [0.0] + [ratio] * steps,
    "slow end": lambda ratio, steps: [ratio * (1 - (1 - k / steps) ** 3) for k in range(steps + 1)],
}


@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    widths=st.tuples(*[st.integers(1, 24)] * 4),
    ratio=st.floats(0, 0.95),
    steps=st.integers(2, 5),
    scheduler=st.sampled_from(sorted(RISING)),
    round_to=st.sampled_from([None, 2, 5, 8]),
    kind=st.sampled_from(["local", "global"]),
)
def test_steps_end_where_one_step_ends(widths, ratio, steps, scheduler, round_to, kind):
    found = []
    for count in (1, steps):
        torch.manual_seed(0)
        model = Chain(widths)
        pruner = tp.pruner.BasePruner(
            model, torch.rand(1, 3, 12, 12), pruning_ratio=ratio, iterative_steps=count, round_to=round_to,
            iterative_pruning_ratio_scheduler=RISING[scheduler], global_pruning=kind == "global",
        )  # fmt: skip
        for _ in range(count):
            pruner.step()
        found.append(model.widths)
    once, often = found
    if kind == "local":
        assert once == often
        for before, after in zip(widths, once, strict=True):
            assert after == before or after % (round_to or 1) == 0
    elif round_to is None:
        assert sum(once) == sum(often)
    else:
        assert abs(sum(once) - sum(often)) <= round_to


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"pruning_ration": 0.5}, "unknown argument 'pruning_ration'; did you mean 'pruning_ratio'"),
        ({"max_pruning_ratio": 1.5}, "max_pruning_ratio is 1.5; give a share from 0 to 1"),
        ({"round_to": -1}, "round_to is -1; give a whole number, at least 1"),
        ({"head_pruning_ratio": 1.0}, "pruning ratio is 1.0"),
        ({"pruning_ratio_dict": {nn.Conv2d: 0.5}}, "names the type .*, which is no layer"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(InputError, match=message):
        tp.pruner.BasePruner(Chain(), IMAGES, **arguments)


def test_a_scheduler_with_too_few_ratios():
    pruner = tp.pruner.BasePruner(
        Chain(), IMAGES, iterative_steps=3, iterative_pruning_ratio_scheduler=lambda ratio, steps: [0, ratio]
    )
    with pytest.raises(InputError, match="returned 2 ratios for 3 steps; return one for the start and one for each"):
        pruner.step()
