"""Recipes of torchvision's segmentation and detection name the right task, data and settings."""

from pathlib import Path

import pytest

from deploy_prune.errors import InputError
from deploy_prune.pipeline.recipe import read_recipe
from deploy_prune.pipeline.task_choice import embedded_format, make_task
from deploy_prune.tasks.detection import DetectionTask, InstanceTask
from deploy_prune.tasks.semantic import SemanticTask

PIPELINES = Path(__file__).parents[2] / "pipelines"


@pytest.mark.parametrize(
    ("recipe", "changes", "kind", "written"),
    [
        ("deeplabv3_digits", {}, SemanticTask, "semantic"),
        ("ssdlite_digits", {}, DetectionTask, "coco"),
        ("ssdlite_digits", {"task": "segment", "model": "torchvision/maskrcnn_resnet50_fpn"}, InstanceTask, "coco"),
    ],
)
def test_the_recipe_becomes_its_task(recipe, changes, kind, written, tmp_path):
    read = read_recipe(PIPELINES / f"{recipe}.yaml", {**changes, "train.fliplr": 0.5, "finetune.lr0": 0.25, "seed": 7})
    task = make_task(read, tmp_path)
    assert type(task) is kind
    assert embedded_format(read) == written
    assert not read.finetune.distil
    assert (task.name, task.data, task.seed) == (read.task, tmp_path, 7)
    assert (task.augmentation.fliplr, task.finetuning.lr0, task.training.batch) == (0.5, 0.25, 8)
    assert task.image_size == read.data.image_size


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "yolov8n.yaml"}, "is for detect, segment, classify, pose, obb, and the task is semantic"),
        ({"model": "timm/convnext_atto"}, "timm/convnext_atto is for classify, and the task is semantic"),
        ({"model": "torchvision/resnet18"}, "unknown model 'torchvision/resnet18' for semantic: "),
        ({"train.mosaic": 0.5}, "train.mosaic: this task has no such setting; it has batch, ema_decay, fliplr, lr0"),
    ],
)
def test_what_does_not_belong_together_is_refused(changes, message, tmp_path):
    with pytest.raises(InputError) as caught:
        make_task(read_recipe(PIPELINES / "deeplabv3_digits.yaml", changes), tmp_path)
    assert message in str(caught.value)
