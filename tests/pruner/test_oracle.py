"""The pruned network computes what the masked original computes: every topology, the named networks, random plans."""

import dataclasses

import numpy as np
import pytest
import torch
import torchvision
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn
from zoo.topologies import BODIES, Stem, build, enliven

from deploy_prune.errors import PlanError, VerificationError
from deploy_prune.pruner import DependencyGraph, apply_plan, verify

IMAGES = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def random_removal(graph, ratio, seed=0, heads=False):
    """Every row of every group loses its own random units; whole heads go too when asked for."""
    chance = np.random.default_rng(seed)
    return {
        g.name: [chance.choice(g.width, int(g.width * ratio), replace=False) for _ in range(g.rows)]
        for g in graph.units.groups
        if g.kind == "channels" or heads
    }


def prune_and_verify(model, inputs, ratio=0.4, seed=0, heads=False, **kwargs):
    graph = DependencyGraph().build_dependency(model, inputs, **kwargs)
    plan = graph.make_plan(random_removal(graph, ratio, seed, heads))
    pruned = apply_plan(model, plan)
    return pruned, plan, verify(model, pruned, plan, inputs, **kwargs)


def parameters(model):
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("name", BODIES)
def test_topology(name):
    model = build(name)
    pruned, _, errors = prune_and_verify(model, IMAGES)
    assert errors.dtype == "float64"
    assert errors.eval_error < 1e-9 and errors.train_error < 1e-9
    assert parameters(pruned) < 0.85 * parameters(model)


def yolo_outputs(output):
    raw = output[1] if isinstance(output, tuple) else output
    return [raw["boxes"], raw["scores"]]


def yolo(name):
    ultralytics = pytest.importorskip("ultralytics")
    return ultralytics.YOLO(f"{name}.yaml").model


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "mobilenet_v2"])
def test_torchvision(name):
    model = enliven(getattr(torchvision.models, name)(num_classes=10))
    pruned, _, errors = prune_and_verify(model, torch.rand(1, 3, 64, 64))
    assert errors.eval_error < 1e-6 and errors.train_error < 1e-6
    assert parameters(pruned) < 0.6 * parameters(model)


def test_yolov8n():
    model = enliven(yolo("yolov8n"))
    pruned, plan, errors = prune_and_verify(model, torch.rand(1, 3, 64, 64), output_transform=yolo_outputs)
    assert errors.eval_error < 1e-6 and errors.train_error < 1e-6
    assert parameters(pruned) < 0.6 * parameters(model)
    for block, before in zip(pruned.model, model.model, strict=True):
        if hasattr(before, "c"):
            assert block.c == block.cv1.conv.out_channels // 2 < before.c
            data = torch.rand(1, block.cv1.conv.in_channels, 8, 8)
            assert torch.equal(block.eval()(data), block.forward_split(data))
    assert all(change.path == ("c",) for change in plan.attributes)


def test_a_moved_index_is_caught():
    model = build("Residual")
    graph = DependencyGraph().build_dependency(model, IMAGES)
    plan = graph.make_plan({"body.a.0": [3, 5]})
    cut = next(c for c in plan.cuts if c.parameter == "body.b.0.weight")
    moved = dataclasses.replace(cut, kept=tuple(sorted({*cut.kept, 3} - {4})))
    wrong = dataclasses.replace(plan, cuts=tuple(moved if c is cut else c for c in plan.cuts))
    with pytest.raises(
        VerificationError, match=r"differs from the masked original in output: relative error .* in eval mode"
    ):
        verify(model, apply_plan(model, wrong), wrong, IMAGES)


def test_a_changed_weight_is_caught():
    model = build("Concat")
    graph = DependencyGraph().build_dependency(model, IMAGES)
    plan = graph.make_plan(random_removal(graph, 0.3))
    pruned = apply_plan(model, plan)
    pruned.head.weight.data[0, 0] += 0.5
    with pytest.raises(VerificationError, match="relative error"):
        verify(model, pruned, plan, IMAGES)


def test_a_comparison_of_nothing_is_refused():
    model = build("Residual")
    plan = DependencyGraph().build_dependency(model, IMAGES).make_plan({"stem.0": [0]})
    with pytest.raises(VerificationError, match="holds no floating-point tensor"):
        verify(model, apply_plan(model, plan), plan, IMAGES, output_transform=lambda _: [])


def test_plan_of_another_architecture_is_refused():
    plan = DependencyGraph().build_dependency(build("Residual"), IMAGES).make_plan({"stem.0": [0]})
    with pytest.raises(PlanError, match="made for another architecture"):
        apply_plan(build("Concat"), plan)


def test_the_model_is_left_untouched_unless_in_place():
    model = build("Grouped")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    graph = DependencyGraph().build_dependency(model, IMAGES)
    plan = graph.make_plan(random_removal(graph, 0.4))
    apply_plan(model, plan)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert apply_plan(model, plan, inplace=True) is model
    assert model.stem[0].out_channels < 16


def test_tied_weights_stay_tied_and_gradients_are_sliced():
    model = build("TiedWeights")
    model(IMAGES).sum().backward()
    expected = model.body.a.weight.grad.clone()
    graph = DependencyGraph().build_dependency(model, IMAGES)
    pruned = apply_plan(model, graph.make_plan(random_removal(graph, 0.5)))
    assert pruned.body.a.weight is pruned.body.b.weight
    assert len({id(p) for p in pruned.parameters()}) == len({id(p) for p in model.parameters()})
    graph.prune(random_removal(graph, 0.5))
    assert model.body.a.weight.grad.shape == model.body.a.weight.shape != expected.shape


class RandomBody(nn.Module):
    def __init__(self, names):
        super().__init__()
        self.parts = nn.ModuleList(BODIES[name]() for name in names)

    def forward(self, x):
        for part in self.parts:
            x = part(x)
        return x


def keeps_its_shape(name):
    data = torch.rand(2, 16, 16, 16)
    with torch.no_grad():
        return BODIES[name]().eval()(data).shape == data.shape


CHAINABLE = sorted(filter(keeps_its_shape, BODIES))


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    names=st.lists(st.sampled_from(CHAINABLE), min_size=1, max_size=4),
    ratio=st.floats(0.05, 0.9),
    seed=st.integers(0, 1000),
    heads=st.booleans(),
)
def test_any_plan_of_any_network_is_exact(names, ratio, seed, heads):
    torch.manual_seed(seed)
    model = enliven(Stem(RandomBody(names)), seed)
    _, _, errors = prune_and_verify(model, IMAGES, ratio, seed, heads)
    assert errors.eval_error < 1e-6
    assert errors.train_error < 1e-6
