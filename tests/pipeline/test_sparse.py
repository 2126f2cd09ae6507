"""Sparse training as recipes ask for it: its gradients, that it survives a kill, and that units go towards zero."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from deploy_prune.datasets import write_digits
from deploy_prune.pipeline.sparse import SparseTraining
from deploy_prune.tasks.ultralytics import UltralyticsTask

ROOT = Path(__file__).parents[1]
run = SimpleNamespace(**runpy.run_path(str(ROOT / "tasks" / "fit_run.py")))
IMAGE = torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def penalty(kind, strength):
    return SparseTraining(kind, strength, IMAGE, lambda output: output)


def test_bn_scale_by_hand():
    model = run.build(norm=True)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    penalty("bn_scale", 0.3).attach(model)(1.0)
    assert torch.equal(model[1].weight.grad, torch.full((8,), 0.3))
    assert not model[0].weight.grad.any()


def test_a_growing_penalty_by_hand():
    """The least important unit decays at the strength reached so far, the most important one not at all."""
    model = nn.Sequential(nn.Linear(1, 3, bias=False), nn.Linear(3, 1, bias=False))
    model[0].weight.data[:], model[1].weight.data[:] = torch.tensor([[1.0], [2.0], [3.0]]), 0.0
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    growing = SparseTraining("growing", 0.8, torch.ones(1, 1), lambda output: output).attach(model)
    growing(0.5)
    # Importance is the squared norm over its mean: 1, 4 and 9 parts, so the middle unit is 5/8 unimportant.
    assert torch.allclose(model[0].weight.grad.flatten(), torch.tensor([0.4 * 1, 0.4 * 5 / 8 * 2, 0.0]))
    model[0].weight.grad.zero_()
    growing(1.0)
    assert torch.allclose(model[0].weight.grad.flatten(), torch.tensor([0.8 * 1, 0.8 * 5 / 8 * 2, 0.0]))


def test_attaching_leaves_a_network_in_training_as_it_was():
    model = run.build(norm=True, dropout=0.2).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    penalty("group_norm", 1e-4).attach(model)
    assert all(module.training for module in model.modules())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("kind", ["bn_scale", "group_norm", "growing"])
def test_training_with_it_can_be_interrupted(tmp_path, kind):
    """A run that stops within its third epoch and is started again ends with the weights of one that did not."""

    def stop_at_25(model, batch, steps=[0]):  # noqa: B006
        steps[0] += 1
        if steps[0] == 25:
            raise KeyboardInterrupt
        return run.loss(model, batch)

    def fit(**changes):
        regularizer = penalty(kind, 1e-2)
        return run.fit(regularizer=regularizer, about=repr(regularizer), **changes)

    whole = fit().run(run.build(norm=True), tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        fit(loss=stop_at_25).run(run.build(norm=True), tmp_path / "broken")
    continued = fit().run(run.build(norm=True), tmp_path / "broken").state_dict()
    assert all(torch.equal(tensor, continued[name]) for name, tensor in whole.state_dict().items())


def test_units_go_apart_where_it_is_used(tmp_path):
    plain = run.fit().run(run.build(norm=True), tmp_path / "plain")
    sparse = run.fit(regularizer=penalty("group_norm", 0.05)).run(run.build(norm=True), tmp_path / "sparse")

    def weakest(model):
        return float(model[0].weight.detach().flatten(1).norm(dim=1).min())

    assert weakest(sparse) < 0.7 * weakest(plain)
    assert run.accuracy(sparse) > 0.6  # ten classes


def test_yolo_networks_are_trained_with_it_too(tmp_path):
    data = write_digits("detect", tmp_path / "set", train=8, val=4, image_size=64)
    task = UltralyticsTask(data=data, image_size=64)
    dense = task.build()
    regularizer = SparseTraining("bn_scale", 5.0, task.example_inputs(), task.kept_output)
    plain = task.finetune(dense, tmp_path / "plain", epochs=2)
    sparse = task.finetune(dense, tmp_path / "sparse", epochs=2, regularizer=regularizer)

    def scales(model):
        return sum(float(m.weight.detach().abs().sum()) for m in model.modules() if isinstance(m, nn.BatchNorm2d))

    assert scales(sparse) < scales(plain) - 1e-3
    assert [p.shape for p in sparse.parameters()] == [p.shape for p in dense.parameters()]
