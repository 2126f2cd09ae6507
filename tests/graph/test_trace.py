"""Tracing: what it hears, what it says when it cannot follow, and that it leaves nothing behind."""

import random

import numpy as np
import pytest
import torch
from torch import nn
from zoo.topologies import build

from deploy_prune.errors import ForwardError
from deploy_prune.graph.trace import trace
from deploy_prune.graph.units import find_units
from deploy_prune.pruner import DependencyGraph, apply_plan

IMAGES = torch.rand(2, 3, 16, 16)


def snapshot(model):
    return (
        {n: (id(t), t.clone(), t.requires_grad) for n, t in (*model.named_parameters(), *model.named_buffers())},
        {n: {k: id(v) for k, v in m.__dict__.items()} for n, m in model.named_modules()},
        torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist(),
        torch.backends.mha.get_fastpath_enabled(), len(nn.modules.module._global_forward_hooks),
        len(nn.modules.module._global_forward_pre_hooks), torch.is_grad_enabled(),
    )  # fmt: skip


def same(before, after):
    tensors = all(
        a[0] == b[0] and torch.equal(a[1], b[1]) and a[2] == b[2]
        for a, b in zip(before[0].values(), after[0].values(), strict=True)
    )
    return tensors and before[1:] == after[1:]


class Fails(nn.Module):
    def __init__(self):
        super().__init__()
        self.size = 7
        self.bn = nn.BatchNorm2d(3)

    def forward(self, x):
        self.cache = self.bn(x)
        return torch.zeros(self.size) @ x.flatten()


def test_nothing_is_left_behind_after_success():
    model = build("ChunkWithSplit").train()
    model.stem[0].eval()
    before = snapshot(model)
    trace(model, IMAGES)
    assert same(before, snapshot(model))
    assert type(model.body.c) is int and model.training and not model.stem[0].training


def test_nothing_is_left_behind_after_failure():
    model = Fails()
    before = snapshot(model)
    with pytest.raises(
        ForwardError, match=r"the model fails on the example inputs in .*: RuntimeError: .*; give inputs"
    ):
        trace(model, IMAGES)
    assert same(before, snapshot(model)) and not hasattr(model, "cache")


@torch.library.custom_op("tests::mystery", mutates_args=())
def mystery(x: torch.Tensor) -> torch.Tensor:
    return x.flip(-1) * 2


class Mysterious(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(8, 6), nn.Linear(6, 6), nn.Linear(6, 4)

    def forward(self, x):
        return self.c(mystery(self.b(self.a(x).relu())))


def test_an_operator_without_a_rule_freezes_by_name():
    units = find_units(trace(Mysterious(), torch.rand(2, 8)))
    assert [g.name for g in units.groups] == ["a"]
    assert units.unknown == {"tests.mystery": 1}
    (frozen,) = [f for f in units.frozen if f.name == "b"]
    assert frozen.reason == "operator tests.mystery has no rule"
    assert frozen.place.source.startswith("test_trace.py:")


class Compares(nn.Module):
    def __init__(self):
        super().__init__()
        self.channels, self.a, self.b = 6, nn.Linear(8, 6), nn.Linear(6, 4)

    def forward(self, x):
        y = self.a(x)
        assert y.shape[1] == self.channels
        return self.b(y)


def test_attributes_that_are_only_compared_follow():
    model = Compares()
    graph = DependencyGraph().build_dependency(model, torch.rand(2, 8))
    pruned = apply_plan(model, graph.make_plan({"a": [1, 2]}))
    assert pruned.channels == 4 and pruned(torch.rand(2, 8)).shape == (2, 4)


def test_outputs_are_frozen_with_their_path():
    units = find_units(trace(build("Residual"), IMAGES, output_transform=lambda y: {"scores": [y]}))
    (head,) = [f for f in units.frozen if f.name == "head"]
    assert head.reason == "reaches the model's output ['scores'][0]" and head.width == 5


def test_literal_sizes_freeze_and_attribute_sizes_follow():
    literal = find_units(trace(build("LiteralSplit"), IMAGES))
    assert not [g for g in literal.groups if g.name == "body.cv1.0"]
    assert {f.reason for f in literal.frozen if f.name.startswith("body.cv1.0")} == {
        "has the literal size 6 in the code", "has the literal size 10 in the code"
    }  # fmt: skip

    model = build("UnequalSplit")
    graph = DependencyGraph().build_dependency(model, IMAGES)
    widths = {g.name: g.width for g in graph.units.groups if g.name.startswith("body.cv1.0")}
    assert sorted(widths.values()) == [6, 10]
    left = next(name for name, width in widths.items() if width == 6)
    pruned = apply_plan(model, graph.make_plan({left: [0, 2]}))
    assert (pruned.body.left, pruned.body.right) == (4, 10)


def test_the_forward_that_exporters_switch_to_is_heard():
    model = build("ChunkWithSplit")
    graph = DependencyGraph().build_dependency(model, IMAGES)
    pruned = apply_plan(model, graph.make_plan({"body.cv1.0": [1, 4, 5]}))
    assert pruned.body.c == 5
    data = torch.rand(1, 16, 4, 4)
    assert torch.equal(pruned.body(data), pruned.body.forward_split(data))


class Sized(nn.Module):
    """Sizes by products and quotients of attributes, and read from tensors."""

    def __init__(self):
        super().__init__()
        self.heads, self.dim, self.shape = 4, 6, (24, 1)
        self.proj, self.out = nn.Linear(8, 24), nn.Linear(24, 3)
        self.scale = nn.Parameter(torch.rand(24))

    def forward(self, x):
        y = self.proj(x) * self.scale.view(self.shape)[:, 0]
        b = y.shape[0]
        y = y.view(b, self.heads, self.dim).transpose(1, 2).transpose(1, 2).reshape(b, self.heads * self.dim)
        return self.out(y + y.new_zeros(b, y.shape[1]))


def test_sizes_by_expressions_are_solved():
    model = Sized().eval()
    graph = DependencyGraph().build_dependency(model, torch.rand(2, 8))
    channels, heads = graph.units.groups
    assert (channels.width, channels.rows, channels.kind) == (6, 4, "channels")
    assert (heads.width, heads.rows, heads.kind) == (4, 1, "heads")
    pruned = apply_plan(model, graph.make_plan({channels.name: [0, 5]}))
    assert (pruned.heads, pruned.dim, pruned.shape) == (4, 4, (16, 1))
    pruned = apply_plan(model, graph.make_plan({channels.name: [[0], [1], [5], [0]], heads.name: [2]}))
    assert (pruned.heads, pruned.dim, pruned.shape) == (3, 5, (15, 1))
    assert pruned(torch.rand(2, 8)).shape == (2, 3)


def test_unreached_parameters_are_reported():
    model = build("Residual")
    model.spare = nn.Linear(4, 4)
    units = find_units(trace(model, IMAGES), [n for n, _ in model.named_parameters()])
    assert units.unreached == ("spare.weight", "spare.bias")


def test_inputs_by_position_and_by_name():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = nn.Linear(4, 6), nn.Linear(5, 6), nn.Linear(6, 2)

        def forward(self, left, right):
            return self.c(self.a(left) + self.b(right))

    left, right = torch.rand(1, 4), torch.rand(1, 5)
    for inputs in ((left, right), {"left": left, "right": right}):
        units = find_units(trace(Two(), inputs))
        assert [(g.name, g.width) for g in units.groups] == [("a", 6)]


class Catches(nn.Module):
    def __init__(self):
        super().__init__()
        self.failing = nn.Sequential(nn.Linear(16, 16), nn.Linear(3, 3))

    def forward(self, x):
        try:
            return self.failing(x)
        except RuntimeError:
            return x


class GoesOn(nn.Module):
    def __init__(self):
        super().__init__()
        self.catches, self.last = Catches(), nn.Linear(16, 4)

    def forward(self, x):
        return self.last(self.catches(x)).cumsum(-1)


def test_a_failure_inside_a_module_that_catches_it_does_not_shift_later_places():
    places = [f.place.module for f in trace(GoesOn(), torch.rand(2, 16)).facts.frozen if f.place.operator == "cumsum"]
    assert places == [""]
