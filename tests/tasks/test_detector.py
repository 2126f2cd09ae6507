"""Detectors whose weights are random but lively: untrained ones say nearly the same everywhere."""

import numpy as np
import pytest
import torch
from torch import nn

from deploy_prune.datasets import write_digits
from deploy_prune.export.parity import check_parity
from deploy_prune.pruner import DependencyGraph, apply_plan, verify
from deploy_prune.tasks.detection import DetectionTask, InstanceTask
from deploy_prune.tasks.selection import select_detections

SIZE = 64
SSDLITE, FASTER = "ssdlite320_mobilenet_v3_large", "fasterrcnn_mobilenet_v3_large_320_fpn"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_digits("coco", tmp_path_factory.mktemp("coco") / "set", train=4, val=2, image_size=SIZE)


@pytest.fixture(scope="module")
def tasks(folder):
    return {
        SSDLITE: DetectionTask(folder, f"torchvision/{SSDLITE}", image_size=SIZE),
        FASTER: DetectionTask(folder, f"torchvision/{FASTER}", image_size=SIZE),
        "retinanet_resnet50_fpn": DetectionTask(folder, "torchvision/retinanet_resnet50_fpn", image_size=SIZE),
        "fcos_resnet50_fpn": DetectionTask(folder, "torchvision/fcos_resnet50_fpn", image_size=SIZE),
        "maskrcnn_resnet50_fpn": InstanceTask(folder, "torchvision/maskrcnn_resnet50_fpn", image_size=SIZE),
    }


def lively(task):
    """Norms have seen images, and the last layers say different things at different places."""
    model = task.build().train()
    images = task.calibration_inputs(4)
    with torch.no_grad():
        for _ in range(4):
            model(images)
    generator = torch.Generator().manual_seed(0)
    for name, module in model.named_modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)) and name.rpartition(".")[2] in ("cls_logits", "cls_score"):
            module.weight.data.normal_(std=0.05, generator=generator)
    return model.eval(), images


@pytest.fixture(scope="module")
def models(tasks):
    return {name: lively(tasks[name]) for name in (SSDLITE, FASTER)}


@pytest.mark.parametrize("name", [SSDLITE, FASTER])
def test_the_exported_file_computes_the_same_with_shapes_that_are_fixed(name, tasks, models, tmp_path):
    model, images = models[name]
    path = tasks[name].export_onnx(model, tmp_path / "model.onnx")
    assert check_parity(model, path, images).max_rel < 1e-4
    import onnx

    shapes = [[axis.dim_value for axis in one.type.tensor_type.shape.dim] for one in onnx.load(path).graph.output]
    assert shapes == [list(tensor.shape) for tensor in model(images[:1]).values()]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["retinanet_resnet50_fpn", "fcos_resnet50_fpn", "maskrcnn_resnet50_fpn"])
def test_large_detectors_export_too(name, tasks, tmp_path):
    model, images = lively(tasks[name])
    path = tasks[name].export_onnx(model, tmp_path / "model.onnx")
    assert check_parity(model, path, images).max_rel < 1e-4


def test_one_stage_predictions_are_torchvisions_own(tasks, models):
    model, images = models[SSDLITE]
    with torch.no_grad():
        output = model(images[:1])
        model.network.transform.min_size, model.network.transform.fixed_size = (SIZE,), (SIZE, SIZE)
        own = model.network(list(images[:1]))[0]
    raw = {key: value[0] for key, value in output.items()}
    for box, score, label in zip(own["boxes"][:20], own["scores"], own["labels"], strict=False):
        distance = (raw["boxes"] - box).abs().amax(dim=1) + (raw["scores"][:, label - 1] - score).abs()
        assert distance.min() < 1e-4  # each of torchvision's detections is among the predictions
    found = select_detections(raw["boxes"], raw["scores"])
    assert found["scores"][0] == pytest.approx(float(own["scores"][0]), abs=1e-6)
    assert found["labels"][0] == own["labels"][0] - 1


def test_two_stage_predictions_are_torchvisions_own_for_the_same_proposals(tasks, models, monkeypatch):
    """Suppression of proposals is the one step that differs: with the same ones, so are classes and boxes."""
    from deploy_prune.tasks import two_stage

    model, images = models[FASTER]
    network = model.network
    boxes = torch.tensor([[[2.0, 3.0, 30.0, 40.0], [10.0, 10.0, 60.0, 62.0], [40.0, 5.0, 50.0, 20.0]]])
    monkeypatch.setattr(two_stage, "propose", lambda *_: boxes)
    with torch.no_grad():
        ours = model(images[:1])
        features = network.backbone(network.transform.normalize(images[:1]))
        heads = network.roi_heads
        pooled = heads.box_roi_pool(features, [boxes[0]], [(SIZE, SIZE)])
        logits, offsets = heads.box_predictor(heads.box_head(pooled))
        decoded = heads.box_coder.decode(offsets, [boxes[0]]).clamp(0, SIZE)
    assert torch.allclose(ours["scores"][0], logits.softmax(-1)[:, 1:], atol=1e-6)
    assert torch.allclose(ours["boxes"][0], decoded[:, 1:], atol=1e-4)


@pytest.mark.parametrize("name", [SSDLITE, FASTER])
def test_a_pruned_detector_passes_the_oracle_and_can_be_trained(name, tasks, models):
    task, (model, images) = tasks[name], models[name]
    graph = DependencyGraph().build_dependency(model, images[:1], output_transform=task.kept_output)
    chance = np.random.default_rng(0)
    removed = {
        group.name: [chance.choice(group.width, int(0.4 * group.width), replace=False) for _ in range(group.rows)]
        for group in graph.units.groups
        if group.kind == "channels"
    }
    plan = graph.make_plan(removed)
    pruned = apply_plan(model, plan)
    assert verify(model, pruned, plan, images[:1], output_transform=task.kept_output).eval_error < 1e-9
    before, after = (sum(parameter.numel() for parameter in one.parameters()) for one in (model, pruned))
    assert after < 0.6 * before
    task.loss(pruned.train(), task.calibration_batches(2, 2)[0]).backward()


@pytest.mark.parametrize("name", [SSDLITE, FASTER])
def test_losses_leave_the_modes_and_norms_alone_and_repeat_in_eval_mode(name, tasks, models):
    model, _ = models[name]
    batch = tasks[name].calibration_batches(2, 2)[0]
    before = {key: value.clone() for key, value in model.state_dict().items()}
    first, second = (tasks[name].loss(model, batch) for _ in range(2))
    assert first.item() == second.item() > 0
    assert not any(module.training for module in model.modules())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    first.backward()
    grads = [parameter.grad is not None for parameter in model.parameters()]
    assert sum(grads) > 0.9 * len(grads)
    model.zero_grad(set_to_none=True)


def test_crowds_are_no_objects_to_learn(tasks, models):
    model, _ = models[SSDLITE]
    images, targets = tasks[SSDLITE].calibration_batches(1, 1)[0]
    alone = [{key: value[:1] for key, value in targets[0].items()}]
    crowd = [targets[0] | {"iscrowd": torch.tensor([0] + [1] * (len(targets[0]["labels"]) - 1))}]
    loss = tasks[SSDLITE].loss
    assert loss(model, (images, alone)).item() == loss(model, (images, crowd)).item()


def test_an_image_without_objects_has_a_loss(tasks, models):
    images, targets = tasks[SSDLITE].calibration_batches(2, 2)[0]
    empty = {key: value[:0] for key, value in targets[0].items()}
    for name in (SSDLITE, FASTER):
        assert torch.isfinite(tasks[name].loss(models[name][0], (images, [empty, targets[1]])))
