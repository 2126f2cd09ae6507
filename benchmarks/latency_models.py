"""The networks of the latency benchmarks, with random weights, which cost the same time as trained ones."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from deploy_prune.export.onnx import export_onnx

TORCHVISION = {
    "resnet50": 224,
    "mobilenet_v2": 224,
    "efficientnet_b0": 224,
    "regnet_y_400mf": 224,
    "convnext_tiny": 224,
    "vit_b_16": 224,
    "swin_t": 224,
    "deeplabv3_mobilenet_v3_large": 224,
}
"""Model -> side of its image in pixels."""
ULTRALYTICS = {"yolov8n": 320, "yolo11n": 320, "yolov8n_640": 640}
CLASSES = 80
WITH_BRANCHES = ("convnext_tiny", "vit_b_16", "swin_t")
"""Networks of residual blocks of one shape, which may get shallower too."""


@dataclasses.dataclass(frozen=True, eq=False)
class Case:
    """A network, one input, what picks from its output that which keeps its shape, how it is exported, and whether
    whole residual branches may go."""

    model: nn.Module
    inputs: torch.Tensor
    kept_output: Callable[[Any], Any] | None
    export: Callable[[nn.Module, Path], Path]
    remove_branches: bool = False


def names() -> list[str]:
    """All models, in the order of the tables."""
    return [*TORCHVISION, *ULTRALYTICS]


def build(name: str) -> Case:
    """The network of this name, the same at every call."""
    torch.manual_seed(0)
    if name in ULTRALYTICS:
        from deploy_prune.tasks import ultralytics_api as api
        from deploy_prune.tasks.ultralytics import UltralyticsTask

        size, config = ULTRALYTICS[name], f"{name.partition('_')[0]}.yaml"
        task = UltralyticsTask(Path(), task="detect", model=config, image_size=size)
        model = api.build_network("detect", config, CLASSES, 0)
        return Case(model.eval(), torch.rand(1, 3, size, size), task.kept_output, task.export_onnx)
    import torchvision

    builder = torchvision.models.get_model_builder(name)
    weights = {"weights": None} | ({"weights_backbone": None} if name.startswith("deeplab") else {})
    inputs = torch.rand(1, 3, TORCHVISION[name], TORCHVISION[name])
    model = builder(**weights).eval()
    return Case(model, inputs, None, lambda m, path: export_onnx(m, inputs, path), name in WITH_BRANCHES)


def output_layers(model: nn.Module, inputs: torch.Tensor) -> list[nn.Module]:
    """Layers whose channels reach the model's output, which other tools have to be told of."""
    from deploy_prune.pruner.dependency import DependencyGraph

    frozen = DependencyGraph().build_dependency(model, inputs).frozen
    reaching = [group for group in frozen if group.reason.startswith("reaches the model's output")]
    names = {part.parameter.rpartition(".")[0] for group in reaching for part in group.slices if part.axis == 0}
    return [module for name, module in model.named_modules() if name in names]
