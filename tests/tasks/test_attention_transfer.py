"""Attention maps: by hand, the same for a network with fewer channels, and part of what a pruned one learns."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from deploy_prune.datasets import write_digits
from deploy_prune.search.prunable import Prunable
from deploy_prune.tasks.attention_transfer import Watched, attention_map, find_stages
from deploy_prune.tasks.classification import ClassificationTask
from deploy_prune.tasks.distillation import Distillation

IMAGES = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def stages():
    torch.manual_seed(0)
    first = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(inplace=True))
    second = nn.Sequential(nn.Conv2d(8, 8, 3, stride=2, padding=1), nn.ReLU(inplace=True))
    return nn.Sequential(first, second, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)).eval()


def test_a_map_by_hand():
    features = torch.tensor([[[[3.0, 0.0]], [[1.0, 2.0]]]])  # squares sum to 10 and 4
    assert torch.allclose(attention_map(features), torch.tensor([[10.0, 4.0]]) / 116**0.5)


def test_stages_are_the_last_modules_of_each_resolution():
    model = stages().train()
    assert find_stages(model, IMAGES) == ("0", "1")
    assert model.training


def test_a_network_is_at_no_distance_from_itself_and_at_some_from_a_pruned_one():
    model = stages()
    pruned = Prunable.of(model, IMAGES).build({"0.0": 4, "1.0": 4})
    for pupil, is_far in ((model, False), (pruned, True)):
        watched = Watched(pupil, model, ("0", "1"))
        with watched.watching():
            pupil(IMAGES), model(IMAGES)
        assert bool(watched.distance() > 1e-3) == is_far
    assert not any(module._forward_hooks for module in (*model.modules(), *pruned.modules()))


@pytest.mark.slow
def test_finetuning_brings_the_maps_of_a_pruned_network_nearer(tmp_path):
    data = write_digits("digits", tmp_path / "set", train=64, val=10, image_size=32)
    task = ClassificationTask(data=data, model="torchvision/resnet18", image_size=32)
    dense = task.build()
    images = task.calibration_inputs(16)
    prunable = Prunable.of(dense, images[:1])
    pruned = prunable.build({name: max(width // 2, 1) for name, width in prunable.full_widths.items()})
    names = find_stages(dense, images[:1])
    assert names == tuple(f"network.{name}" for name in ("relu", "layer1", "layer2", "layer3"))  # layer4 has one pixel

    def distance(pupil):
        watched = Watched(pupil, dense, names)
        with watched.watching(), torch.no_grad():
            pupil(images), dense(images)
        return float(watched.distance())

    found = {}
    for weight in (0.0, 100.0):
        teaching = replace(task, distillation=Distillation(attention=weight))
        tuned = teaching.finetune(pruned, tmp_path / f"{weight}", epochs=10, teacher=dense)
        found[weight] = distance(tuned)
    assert found[100.0] < 0.7 * found[0.0]
