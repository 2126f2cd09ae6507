"""Laws that hold for any weights: units have no order, and scaling a network scales its scores."""

from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from deploy_prune.importance import (
    ActivationImportance,
    BNScaleImportance,
    FisherImportance,
    FPGMImportance,
    HessianImportance,
    LAMPImportance,
    MagnitudeImportance,
    OBDCImportance,
    TaylorImportance,
    WandaImportance,
)
from deploy_prune.pruner import DependencyGraph

INPUTS = torch.linspace(-1, 1, 9).view(3, 3).double()
CRITERIA = {
    "L1": lambda **how: MagnitudeImportance(p=1, **how),
    "L2": MagnitudeImportance,
    "BN scale": BNScaleImportance,
    "FPGM": FPGMImportance,
    "Taylor": TaylorImportance,
    "Taylor, multivariable": lambda **how: TaylorImportance(multivariable=True, **how),
    "Hessian": HessianImportance,
    "OBDC": OBDCImportance,
    "Fisher": FisherImportance,
    "activation": ActivationImportance,
    "Wanda": WandaImportance,
}


@cache
def analysed(units):
    """Linear - batch norm - ReLU - Linear with ``units`` hidden units in double precision, and their group."""
    model = nn.Sequential(nn.Linear(3, units), nn.BatchNorm1d(units), nn.ReLU(), nn.Linear(units, 2)).double().eval()
    return model, next(DependencyGraph().build_dependency(model, INPUTS).get_all_groups())


def randomized(seed, units):
    model, _ = analysed(units)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return model


networks = st.builds(randomized, st.integers(0, 2**20), st.integers(2, 7))


def score(importance, model, factor=1.0):
    """Scores of the hidden units, with the loss times ``factor`` where a criterion has gradients."""
    if isinstance(importance, ActivationImportance | WandaImportance):
        with importance.collect(model):
            model(INPUTS)
    elif isinstance(importance, TaylorImportance):
        model.zero_grad()
        (factor * model(INPUTS).square().sum()).backward()
    elif isinstance(importance, HessianImportance | FisherImportance):
        for sample in INPUTS:
            model.zero_grad()
            (factor * model(sample[None]).square().sum()).backward()
            importance.accumulate_grad(model)
    return importance(analysed(len(model[1].weight))[1])


@pytest.mark.parametrize("name", [*CRITERIA, "LAMP"])
@settings(max_examples=10, deadline=None)
@given(model=networks, data=st.data())
def test_permuting_units_permutes_scores(name, model, data):
    order = data.draw(st.permutations(range(len(model[1].weight))))
    kind = {**CRITERIA, "LAMP": LAMPImportance}[name]
    before = score(kind(), model)
    with torch.no_grad():
        for layer in (model[0], model[1]):
            layer.weight.copy_(layer.weight[order])
            layer.bias.copy_(layer.bias[order])
        model[3].weight.copy_(model[3].weight[:, order])
    assert torch.allclose(score(kind(), model), before[order])


@pytest.mark.parametrize(("name", "power"), [("L1", 1), ("L2", 2), ("BN scale", 1), ("FPGM", 1)])
@settings(max_examples=10, deadline=None)
@given(model=networks, factor=st.floats(0.1, 10))
def test_scaling_weights_scales_scores_by_a_power(name, power, model, factor):
    before = score(CRITERIA[name](normalizer=None), model)
    normalized = score(CRITERIA[name](), model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(-factor)
    assert torch.allclose(score(CRITERIA[name](normalizer=None), model), before * factor**power)
    assert torch.allclose(score(CRITERIA[name](), model), normalized)


@pytest.mark.parametrize(
    ("name", "power"),
    [("Taylor", 1), ("Taylor, multivariable", 1), ("Hessian", 2), ("OBDC", 2), ("Fisher", 2), ("L2", 0), ("Wanda", 0)],
)
@settings(max_examples=10, deadline=None)
@given(model=networks, factor=st.floats(0.1, 10))
def test_scaling_the_loss_scales_scores_by_a_power(name, power, model, factor):
    before = score(CRITERIA[name](normalizer=None), model)
    assert torch.allclose(score(CRITERIA[name](normalizer=None), model, factor), before * factor**power)


@pytest.mark.parametrize("name", sorted(CRITERIA.keys() - {"FPGM"}))
@settings(max_examples=10, deadline=None)
@given(model=networks, data=st.data())
def test_a_unit_of_zeros_scores_zero(name, model, data):
    unit = data.draw(st.integers(0, len(model[1].weight) - 1))
    with torch.no_grad():
        for layer in (model[0], model[1]):
            layer.weight[unit] = layer.bias[unit] = 0
        model[3].weight[:, unit] = 0
    scores = score(CRITERIA[name](), model)
    assert scores[unit] == 0 and scores.min() == 0


@settings(max_examples=20, deadline=None)
@given(model=networks)
def test_fisher_is_hessian_where_a_slice_is_one_weight(model):
    """Then no weights share a gate: the batch norm's scale alone."""
    on_scales = {"target_types": [nn.BatchNorm1d], "normalizer": None}
    assert torch.allclose(score(FisherImportance(**on_scales), model), score(HessianImportance(**on_scales), model))
