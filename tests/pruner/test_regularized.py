"""What sparse training adds to the gradients, against autograd's gradient of the penalty that it stands for."""

import copy

import pytest
import torch
from torch import nn
from zoo.topologies import build

import deploy_prune as tp

IMAGES = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def zero_gradients(model):
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)


def added_by(pruner, **arguments):
    zero_gradients(pruner.model)
    pruner.regularize(pruner.model, **arguments)
    return {name: parameter.grad for name, parameter in pruner.model.named_parameters()}


def gradients_of(penalty, model):
    zero_gradients(model)
    penalty.backward()
    return {name: parameter.grad for name, parameter in model.named_parameters()}


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name in found:
        torch.testing.assert_close(found[name], expected[name], msg=lambda text, name=name: f"{name}: {text}")


def norms_of(model):
    return [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]


def test_bn_scale_is_the_gradient_of_the_scales_absolute_sum():
    model = build("Residual")
    pruner = tp.pruner.BNScalePruner(model, IMAGES, reg=0.3)
    for strength, arguments in ((0.3, {}), (0.6, {"reg": 0.6})):
        penalty = strength * sum(norm.weight.abs().sum() for norm in norms_of(model))
        assert_same(added_by(pruner, **arguments), gradients_of(penalty, model))


def test_bn_scale_leaves_ignored_layers():
    model = build("Residual")
    pruner = tp.pruner.BNScalePruner(model, IMAGES, reg=0.3, ignored_layers=[model.stem])
    added = added_by(pruner)
    assert not added["stem.1.weight"].any() and added["body.a.1.weight"].all()


def test_bn_scale_with_group_lasso():
    model = build("Residual")
    pruner = tp.pruner.BNScalePruner(model, IMAGES, reg=0.3, group_lasso=True)
    stem, a, b = (norm.weight for norm in norms_of(model))
    penalty = 0.3 * (2**0.5 * torch.stack([stem, b]).norm(dim=0).sum() + a.abs().sum())
    assert_same(added_by(pruner), gradients_of(penalty, model))


def test_group_norm_by_autograd():
    model = build("Residual")
    importance = tp.importance.MagnitudeImportance(p=2, group_reduction="sum", normalizer=None)
    pruner = tp.pruner.GroupNormPruner(model, IMAGES, importance, reg=0.1, alpha=3)
    stem, a, b = model.stem, model.body.a, model.body.b
    inner = a[0].weight.square().sum((1, 2, 3)) + a[1].weight.square() + b[0].weight.square().sum((0, 2, 3))
    outer = (
        stem[0].weight.square().sum((1, 2, 3)) + stem[1].weight.square() + a[0].weight.square().sum((0, 2, 3))
        + b[0].weight.square().sum((1, 2, 3)) + b[1].weight.square() + model.head.weight.square().sum(0)
    )  # fmt: skip
    penalty = 0
    for squares in (inner, outer):
        norm = squares.detach().sqrt()
        gamma = 2 ** (3 * (norm.max() - norm) / (norm.max() - norm.min()))
        penalty = penalty + 0.1 / 2 * (gamma * squares).sum()
    assert_same(added_by(pruner), gradients_of(penalty, model))
    assert not added_by(pruner)["body.a.0.bias"].any()
    assert added_by(pruner, bias=True)["body.a.0.bias"].any()


def test_group_norm_where_all_units_are_equal():
    model = build("Residual")
    pruner = tp.pruner.GroupNormPruner(model, IMAGES, lambda group: 1.0, reg=0.5)
    added = added_by(pruner)
    torch.testing.assert_close(added["body.a.1.weight"], 0.5 * model.body.a[1].weight)


def test_growing_decay_by_hand():
    model = build("Residual")
    scores = {"stem.0": torch.arange(16.0), "body.a.0": torch.arange(24.0)}
    pruner = tp.pruner.GrowingRegPruner(model, IMAGES, lambda group: scores[group.name], reg=0.1, delta_reg=0.2)
    weight = model.body.a[1].weight.detach()
    torch.testing.assert_close(added_by(pruner)["body.a.1.weight"], 0.1 * weight)
    pruner.update_reg()
    pruner.update_reg()
    decay = 0.1 + 2 * 0.2 * (23 - torch.arange(24.0)) / 23
    torch.testing.assert_close(added_by(pruner)["body.a.1.weight"], decay * weight)
    pruner.update_regularizer()
    torch.testing.assert_close(added_by(pruner)["body.a.1.weight"], 0.1 * weight)


def test_rows_decay_by_themselves():
    model = build("ChunkWithSplit")
    channels = lambda group: torch.tensor(group[0].idxs, dtype=torch.float32)  # noqa: E731
    pruner = tp.pruner.GrowingRegPruner(model, IMAGES, channels, reg=0.0, delta_reg=1.0)
    pruner.update_reg()
    decay = ((7 - torch.arange(8.0)) / 7).repeat(2)  # the least channel of each half, not of all
    torch.testing.assert_close(added_by(pruner)["body.cv1.1.weight"], decay * model.body.cv1[1].weight)


@pytest.mark.parametrize("kind", [tp.pruner.BNScalePruner, tp.pruner.GroupNormPruner, tp.pruner.GrowingRegPruner])
def test_training_prune_and_training_again(kind):
    """The documented loop, and that units which are to go shrink against the others."""
    torch.manual_seed(0)
    model = build("Residual")
    model.add_module("unused", nn.Linear(2, 2))  # has no gradient
    pruner = kind(model, IMAGES, tp.importance.MagnitudeImportance(), reg=0.05, pruning_ratio=0.5)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    before = copy.deepcopy(model.state_dict())
    pruner.update_regularizer()
    for _ in range(3):
        optimizer.zero_grad()
        model(IMAGES).square().mean().backward()
        pruner.regularize(model)
        optimizer.step()
    assert any(not torch.equal(before[k], v) for k, v in model.state_dict().items())
    pruner.step()
    assert (model.stem[0].out_channels, model.body.a[0].out_channels) == (8, 12)
    pruner.update_regularizer()
    model(IMAGES).sum().backward()
    pruner.regularize(model)


def test_a_pruner_without_regularisation_adds_nothing():
    pruner = tp.pruner.BasePruner(build("Residual"), IMAGES)
    pruner.update_regularizer()
    assert not any(gradient.any() for gradient in added_by(pruner, loss=None).values())
