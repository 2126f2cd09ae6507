"""A YOLO network with one bottleneck narrowed by hand, and its training; also a script, to be killed."""

import sys
from copy import deepcopy
from pathlib import Path

import torch
from torch import nn

from deploy_prune.tasks.schedule import Schedule
from deploy_prune.tasks.ultralytics import UltralyticsTask

EPOCHS = 3
MODELS = {"detect": "yolov8n.yaml", "classify": "yolov8n-cls.yaml", "pose": "yolov8n-pose.yaml"}


def narrowed(model: nn.Module, keep: int = 8) -> nn.Module:
    """A copy of a network whose first bottleneck has ``keep`` of its inner channels; YOLOv8n has 16, YOLO11n 8."""
    model = deepcopy(model)
    bottleneck = model.model[2].m[0]
    first, norm, second = bottleneck.cv1.conv, bottleneck.cv1.bn, bottleneck.cv2.conv
    first.weight, first.out_channels = nn.Parameter(first.weight[:keep].clone()), keep
    for name in ("weight", "bias"):
        setattr(norm, name, nn.Parameter(getattr(norm, name)[:keep].clone()))
    for name in ("running_mean", "running_var"):
        setattr(norm, name, getattr(norm, name)[:keep].clone())
    norm.num_features = keep
    second.weight, second.in_channels = nn.Parameter(second.weight[:, :keep].clone()), keep
    return model


def train(data: Path, out_dir: Path, name: str = "detect") -> dict[str, torch.Tensor]:
    """Finetune with all that has state: a narrow network, a teacher, mosaic that ends, averaged weights."""
    schedule = Schedule(batch=4, mosaic=1.0, close_mosaic=1)
    task = UltralyticsTask(data=data, task=name, model=MODELS[name], image_size=64, finetuning=schedule)
    dense = task.build()
    return task.finetune(narrowed(dense), out_dir, epochs=EPOCHS, teacher=dense).state_dict()


if __name__ == "__main__":
    train(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
