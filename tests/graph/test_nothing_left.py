"""Looking at a model changes nothing: neither the model nor torch, after success, failure and interruption."""

import copy
import functools
import gc
import random
import types
import weakref
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest
import torch
from torch import nn
from torch.overrides import _len_torch_function_stack
from torch.utils._python_dispatch import _len_torch_dispatch_stack
from zoo.topologies import build

from deploy_prune.count import count
from deploy_prune.errors import ForwardError, InputError, VerificationError
from deploy_prune.graph.rules import RULES
from deploy_prune.graph.trace import trace
from deploy_prune.pruner import DependencyGraph, apply_plan, verify

DATA = torch.rand(4, 6)


class Sizes:
    """A configuration as frameworks keep it: an object with objects, lists and dicts inside."""

    def __init__(self):
        self.width, self.shape, self.nested = 8, (8, 1), SimpleNamespace(width=8)
        self.by_name, self.parts, self.seen = {"width": 8, "parts": [8]}, [2, 6], []


class Busy(nn.Module):
    """A model that does to itself whatever models do while they run."""

    fails_in: str | None = None
    error: type[BaseException] = ValueError

    def __init__(self):
        super().__init__()
        self.config, self.width, self.parts = Sizes(), 8, [2, 6]
        self.first, self.norm, self.last = nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Linear(8, 3)
        self.dropout, self.hooked = nn.Dropout(0.5), False
        self.history, self.deep = [], {"shapes": {"all": []}}
        self.register_buffer("calls", torch.zeros(()))
        self.register_buffer("mean", torch.zeros(8))
        self.running = torch.zeros(8)
        self.scale = nn.Parameter(torch.ones(8), requires_grad=False)
        self.norm.eval()

    def forward(self, x):
        if not self.hooked:
            self.first.register_forward_hook(lambda *_: None)
            self.last.register_forward_pre_hook(lambda *_: None)
            self.register_buffer("late", torch.ones(8))
            self.extra, self.hooked = nn.ReLU(), True
        y = self.dropout(self.norm(self.first(x)))
        y = y + torch.rand(()) * random.random() * np.random.rand()
        a, b = y.view(-1, self.width).split(self.parts, 1)
        y = torch.cat([a, b], 1) * self.scale.view(self.config.shape)[:, 0]
        self.history.append(y.shape)
        self.deep["shapes"]["all"].append(y.shape[1])
        self.config.by_name["parts"].append(y.shape[1])
        self.config.nested.width = self.config.last = y.shape[1]
        self.config.seen.append([{"size": (self.width,)}])
        self.calls += 1
        self.mean.data.mul_(0.9).add_(y.mean(0))
        self.running.mul_(0.9)
        self.scale.data.mul_(0.99)
        self.last.weight.requires_grad_(False)
        if self.fails_in in (None, "eval" if not self.training else "train") and self.error is not ValueError:
            torch.set_grad_enabled(True)
            raise self.error("on purpose")
        return self.last(y)


def busy():
    torch.manual_seed(0)
    model = Busy().train()
    model.norm.eval()
    model(DATA.clone()).sum().backward()
    model.last.weight.requires_grad_(True)
    return model


def contents(value, seen=None):
    """An object with everything inside it, by type and value."""
    seen = {} if seen is None else seen
    if id(value) in seen:
        return "seen"
    if isinstance(value, torch.Tensor):
        grad = contents(value.grad, seen) if value.is_leaf else None
        return type(value), id(value), value.detach().tolist(), value.requires_grad, grad
    if isinstance(value, (dict, types.SimpleNamespace, nn.Module, Sizes)):
        seen[id(value)] = value
        items = value if isinstance(value, dict) else vars(value)
        return type(value), id(value), [(k, contents(v, seen)) for k, v in items.items()]
    if isinstance(value, (list, tuple, set)):
        return type(value), [contents(v, seen) for v in value]
    return type(value), value if isinstance(value, (int, float, str)) else id(value)


def surroundings():
    """All that is torch's, Python's and NumPy's own."""
    functional, hooks = vars(nn.functional), vars(nn.modules.module)
    return (
        torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist(),
        {k: id(v) for k, v in functional.items() if k.startswith("has_torch_function")},
        {k: list(v) for k, v in hooks.items() if k.startswith("_global_") and isinstance(v, dict)},
        {k: id(v) for k, v in vars(nn.Module).items()},
        _len_torch_dispatch_stack(), _len_torch_function_stack(),
        torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.is_autocast_enabled("cpu"),
        torch.backends.mha.get_fastpath_enabled(), torch.get_default_dtype(), torch.get_num_threads(),
        torch.backends.cudnn.enabled, torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic,
        torch.are_deterministic_algorithms_enabled(), torch._C._get_tracing_state() is None,
    )  # fmt: skip


def build_graph(model):
    return DependencyGraph().build_dependency(model, DATA)


def compare_with_itself(model):
    plan = build_graph(model).make_plan({"first": [1, 4]})
    before = contents(model)
    pruned = apply_plan(model, plan)
    after = contents(pruned)
    verify(model, pruned, plan, DATA)
    assert contents(model) == before and contents(pruned) == after


WAYS = {
    "trace": lambda model: trace(model, DATA),
    "graph": build_graph,
    "branches": lambda model: build_graph(model).find_branches(),
    "verify": compare_with_itself,
    "count": lambda model: count(model, DATA),
}


@pytest.fixture(params=WAYS)
def look(request):
    return WAYS[request.param]


def leaves_nothing(look, model, error=None):
    before = contents(model), surroundings()
    if error is None:
        look(model)
    else:
        with pytest.raises(error):
            look(model)
    after = contents(model), surroundings()
    assert after[0] == before[0]
    assert after[1] == before[1]


def test_after_success(look):
    leaves_nothing(look, busy())


def test_after_success_in_inference_settings(look):
    model = busy().eval()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.no_grad():
            leaves_nothing(look, model)
    finally:
        torch.backends.mha.set_fastpath_enabled(True)


def test_before_the_first_call(look):
    torch.manual_seed(0)
    leaves_nothing(look, Busy())


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_after_failure(look, error):
    model = busy()
    model.fails_in, model.error = None, error
    seen = error if error is not RuntimeError or look is WAYS["count"] else ForwardError
    leaves_nothing(look, model, seen)


def test_after_failure_in_train_mode_only(look):
    model = busy()
    model.fails_in, model.error = "train", RuntimeError
    leaves_nothing(look, model)


def test_after_interruption_in_train_mode_only():
    model = busy()
    model.fails_in, model.error = "train", KeyboardInterrupt
    leaves_nothing(build_graph, model, KeyboardInterrupt)


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_after_a_rule_that_fails(error):
    with mock.patch.dict(RULES, {"split_with_sizes": mock.Mock(side_effect=error)}):
        leaves_nothing(build_graph, busy(), ForwardError if error is ZeroDivisionError else error)


def test_after_a_difference_is_found():
    model = build("Residual")
    images = torch.rand(2, 3, 16, 16)
    plan = DependencyGraph().build_dependency(model, images).make_plan({"stem.0": [1]})
    wrong = apply_plan(model, plan)
    wrong.head.weight.data += 1
    leaves_nothing(lambda m: verify(m, wrong, plan, images), model, VerificationError)


def test_nothing_keeps_a_model_alive(look):
    model = busy()
    weights = weakref.ref(model.first.weight), weakref.ref(model.config), weakref.ref(model)
    look(model)
    del model
    gc.collect()
    assert [r() for r in weights] == [None] * 3


def test_copies_made_while_it_is_traced_hold_plain_numbers():
    class Copies(Busy):
        def forward(self, x):
            kept.append(copy.deepcopy(self.config))
            kept.append(copy.copy(self.width))
            return super().forward(x)

    kept = []
    torch.manual_seed(0)
    trace(Copies(), DATA)
    configs = [k for k in kept if isinstance(k, Sizes)]
    assert {type(v) for c in configs for v in (c.width, *c.shape, *c.parts)} == {int}
    assert {type(k) for k in kept} == {Sizes, int}


ODD = {
    "nan": torch.full((3,), float("nan")), "expanded": torch.full((1,), float("nan")).expand(5),
    "sparse": torch.eye(3).to_sparse(), "boolean": torch.ones(3, dtype=torch.bool), "scalar": torch.tensor(1.5),
    "short": torch.ones(4).to(torch.float8_e4m3fn), "complex": torch.ones(2, dtype=torch.complex64),
    "empty": torch.empty(0), "transposed": torch.rand(3, 4).t(),
}  # fmt: skip


@pytest.mark.parametrize("name", ODD)
def test_tensors_of_any_kind_may_lie_in_a_model(name):
    model = nn.Linear(6, 2)
    model.register_buffer("odd", ODD[name])
    trace(model, DATA)
    assert model.odd is ODD[name]


def test_a_model_made_for_inference_is_read():
    with torch.inference_mode():
        model, data = nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)), DATA.clone()
    with torch.inference_mode():
        leaves_nothing(lambda m: trace(m, data), model)


def test_lazy_layers_are_to_be_run_first():
    with pytest.raises(InputError, match=r"^0\.weight has no size yet; run the model once, so that its lazy layers"):
        trace(nn.Sequential(nn.LazyLinear(4)), DATA)


@functools.lru_cache
def scale(width, unit):
    return float(width) ** -0.5 * unit


@functools.lru_cache
def multiple(width, unit):
    return width // unit * unit


class Caches(nn.Module):
    """Sizes that its code computes stay in caches of the process."""

    def __init__(self, literal):
        super().__init__()
        self.first, self.last, self.literal = nn.Linear(6, 8), nn.Linear(8, 2), literal

    def forward(self, x):
        y = self.first(x)
        y = y.view(-1, multiple(8 if self.literal else y.shape[1], 2))
        return self.last(y * scale(y.shape[1], 1))


def test_caches_of_the_users_code_hand_nothing_on():
    model = Caches(literal=False)
    graph = build_graph(model)
    plan = graph.make_plan({"first": [1, 4]})
    pruned = apply_plan(model, plan)
    verify(model, pruned, plan, DATA)
    assert scale(6, 1) == 6**-0.5 and scale(8, 1) == 8**-0.5
    assert type(multiple(6, 2)) is int
    assert build_graph(Caches(literal=True)).frozen[0].reason == "has the literal size 8 in the code"
