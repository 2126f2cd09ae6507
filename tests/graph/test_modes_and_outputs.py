"""Models that run in one mode only, that return objects or iterators, that are copied or resized in unusual ways."""

from collections import deque
from dataclasses import dataclass

import pytest
import torch
from torch import nn

from deploy_prune.errors import ForwardError, InputError, VerificationError
from deploy_prune.graph.trace import trace
from deploy_prune.pruner import BasePruner, DependencyGraph, apply_plan, prune_linear_out_channels, verify

DATA = torch.rand(4, 6)


class Picky(nn.Module):
    """Runs only in the modes that it is given."""

    def __init__(self, *modes):
        super().__init__()
        self.modes, self.a, self.b = modes, nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, x):
        if self.training not in self.modes:
            raise ValueError(f"not with training={self.training}")
        return self.b(self.a(x).relu())


@pytest.mark.parametrize("mode", [False, True])
def test_a_model_that_runs_in_one_mode_only_is_pruned_in_it(mode):
    model = Picky(mode)
    plan = DependencyGraph().build_dependency(model, DATA).make_plan({"a": [1, 5]})
    pruned = apply_plan(model, plan)
    errors = verify(model, pruned, plan, DATA)
    assert (errors.eval_error is None, errors.train_error is None) == (mode, not mode)
    assert pruned.b.weight.shape == (3, 6)


def test_of_two_modes_that_fail_the_first_is_told():
    with pytest.raises(ForwardError, match="training=False"):
        trace(Picky(), DATA)


def test_a_pruned_model_that_fails_is_a_difference():
    model = Picky(True, False)
    plan = DependencyGraph().build_dependency(model, DATA).make_plan({"a": [1]})
    broken = apply_plan(model, plan)
    broken.b = nn.Linear(8, 3)
    with pytest.raises(VerificationError, match="fails in eval mode, in which the original runs: RuntimeError: mat1"):
        verify(model, broken, plan, DATA)


@dataclass
class Scores:
    values: torch.Tensor


class Returns(nn.Module):
    def __init__(self, wrap):
        super().__init__()
        self.wrap, self.a, self.b = wrap, nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, x):
        return self.wrap(self.b(self.a(x)))


def test_tensors_in_nested_dataclasses_are_outputs():
    graph = DependencyGraph().build_dependency(Returns(lambda y: [{"found": Scores(y)}]), DATA)
    assert [g.name for g in graph.units.groups] == ["a"]
    assert any(".values" in f.reason or "values" in f.reason for f in graph.units.frozen)


class Attributes:
    def __init__(self, **values):
        self.__dict__.update(values)


class Slots:
    __slots__ = ("never_set", "values")

    def __init__(self, values):
        self.values = values


def _in_a_circle(y):
    found = Attributes(values=y)
    found.itself = found
    return (found,)


@pytest.mark.parametrize("wrap", [
    lambda y: (Attributes(values=y),), lambda y: {"found": [Attributes(inner=Attributes(values=y))]},
    lambda y: [Slots(y)], _in_a_circle, lambda y: deque([Attributes(values=y)]),
    lambda y: [torch.distributions.Normal(y, y.exp())],
])  # fmt: skip
def test_tensors_in_attributes_of_nested_objects_are_outputs(wrap):
    model = Returns(wrap)
    graph = DependencyGraph().build_dependency(model, DATA)
    assert [g.name for g in graph.units.groups] == ["a"]
    plan = graph.make_plan({"a": [0]})
    pruned = apply_plan(model, plan)
    assert verify(model, pruned, plan, DATA).eval_error < 1e-6
    with torch.no_grad():
        pruned.b.bias += 1
    with pytest.raises(VerificationError, match=r"differs from the masked original in .*(values|loc)"):
        verify(model, pruned, plan, DATA)


class Caches(Returns):
    def forward(self, x, cache=None):
        hidden = self.a(x)
        return {"cache": self.wrap(hidden), "scores": self.b(hidden)}


def test_an_object_that_forward_takes_by_this_name_is_state_and_not_output():
    assert [g.name for g in DependencyGraph().build_dependency(Caches(Slots), DATA).units.groups] == ["a"]
    assert not DependencyGraph().build_dependency(Caches(lambda y: y), DATA).units.groups  # a tensor is an output
    inside = nn.Sequential(Caches(Slots))  # whose own forward takes no cache
    assert not DependencyGraph().build_dependency(inside, DATA).units.groups


def test_an_iterator_as_output_is_refused():
    with pytest.raises(InputError, match="returns a generator"):
        trace(Returns(lambda y: (row for row in y)), DATA)


@pytest.mark.parametrize("how", [nn.utils.weight_norm, torch.jit.script])
def test_models_that_deepcopy_refuses_are_copied(how):
    model = Returns(lambda y: y)
    if how is nn.utils.weight_norm:
        model.a = how(model.a)
    else:
        model.wrap = how(_doubled)
    plan = DependencyGraph().build_dependency(model, DATA).make_plan({"a": [0]})
    pruned = apply_plan(model, plan)
    assert pruned.a.weight.shape == (7, 6) and model.a.weight.shape == (8, 6)
    assert verify(model, pruned, plan, DATA).eval_error < 1e-6


def _doubled(x: torch.Tensor) -> torch.Tensor:
    return x * 2


def test_buffers_of_positions_can_still_be_resized():
    class Observes(Returns):
        def __init__(self):
            super().__init__(lambda y: y)
            self.register_buffer("zero_point", torch.tensor([0], dtype=torch.int))

        def forward(self, x):
            self.zero_point.resize_(3)
            return super().forward(x)

    assert [g.name for g in DependencyGraph().build_dependency(Observes(), DATA).units.groups] == ["a"]


def test_scripted_submodules_stay_as_they_are():
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 8), torch.jit.script(nn.Linear(8, 3)))
    units = DependencyGraph().build_dependency(model, DATA).units
    assert [g.name for g in units.groups] == ["0"]
    assert any(f.reason == "belongs to a scripted module; script after pruning" for f in units.frozen)


@pytest.mark.parametrize("model", [torch.jit.script(nn.Linear(6, 3)), len])
def test_what_is_no_plain_module_is_refused(model):
    with pytest.raises(InputError, match="the model is a"):
        trace(model, DATA)


def test_a_graph_that_is_not_built_says_so():
    with pytest.raises(InputError, match="call build_dependency"):
        DependencyGraph().get_pruning_group(nn.Linear(6, 8), prune_linear_out_channels, [0])


def test_a_ratio_and_a_criterion_of_another_kind_are_refused():
    with pytest.raises(InputError, match="pruning ratio is 'half'"):
        BasePruner(Returns(lambda y: y), DATA, importance=len, pruning_ratio="half")
    with pytest.raises(InputError, match="importance is 'l2'"):
        BasePruner(Returns(lambda y: y), DATA, importance="l2", pruning_ratio=0.5).step()
