"""Networks pruned by Torch-Pruning with its documented arguments, for benchmarks/accuracy.py.

Its example for YOLOv8 (examples/yolov8) replaces each C2f block, whose split it cannot follow, by one with two
convolutions in place of one and its halves; ``without_split`` does so with the trained weights, and changes no output.
"""

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch_pruning as tp
from latency_models import output_layers
from torch import nn

from deploy_prune.tasks.task import Task

ROUND_TO = 16
SCOPES: dict[str, dict[str, bool]] = {
    "local": {"global_pruning": False},
    "global": {"global_pruning": True},
    "isomorphic": {"global_pruning": True, "isomorphic": True},
}
CRITERIA = {
    "magnitude": lambda: tp.importance.GroupMagnitudeImportance(p=2),
    "taylor": lambda: tp.importance.GroupTaylorImportance(),
}
SETTINGS = [(scope, criterion) for scope in SCOPES for criterion in CRITERIA]


def prune(dense: nn.Module, task: Task, batches: Sequence[Any], setting: tuple[str, str], ratio: float) -> nn.Module:
    """A pruned copy; Taylor's gradients are those of the task's loss on the batches."""
    scope, criterion = setting
    model = copy.deepcopy(dense).eval()
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    if criterion == "taylor":
        for batch in batches:
            task.loss(model, batch).backward()
    pruner = tp.pruner.BasePruner(
        model,
        task.example_inputs(),
        importance=CRITERIA[criterion](),
        pruning_ratio=ratio,
        round_to=ROUND_TO,
        ignored_layers=list(_kept(model, task)),
        **SCOPES[scope],
    )
    pruner.step()
    model.zero_grad()
    return model


def _kept(model: nn.Module, task: Task) -> Iterator[nn.Module]:
    """What the examples leave out: the detection head as a whole, else the layers that reach the output."""
    heads = [module for module in model.modules() if type(module).__name__ == "Detect"]
    yield from heads or output_layers(model, task.example_inputs())


class TwoBranches(nn.Module):
    """C2f with a convolution for each half that its first one splits into."""

    def __init__(self, block: Any) -> None:
        super().__init__()
        self.cv0, self.cv1 = (_half(block.cv1, half) for half in (0, 1))
        self.cv2, self.m = block.cv2, block.m
        self.f, self.i, self.type = block.f, block.i, block.type

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """As C2f's, without a split."""
        parts = [self.cv0(x), self.cv1(x)]
        for bottleneck in self.m:
            parts.append(bottleneck(parts[-1]))
        joined: torch.Tensor = self.cv2(torch.cat(parts, 1))
        return joined


def without_split(model: nn.Module) -> nn.Module:
    """A copy of a YOLOv8 whose C2f blocks have two branches."""
    model = copy.deepcopy(model)
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if type(child).__name__ == "C2f":
                setattr(parent, name, TwoBranches(child))
    return model


def _half(block: Any, half: int) -> nn.Module:
    """Convolution, norm and activation with one half of the output channels."""
    part = copy.deepcopy(block)
    width = block.conv.out_channels // 2
    rows = slice(half * width, (half + 1) * width)
    part.conv.out_channels = part.bn.num_features = width
    for module in (part.conv, part.bn):
        for name, parameter in list(module.named_parameters()):
            setattr(module, name, nn.Parameter(parameter.detach()[rows].clone()))
        for name, buffer in list(module.named_buffers()):
            if buffer.ndim:
                setattr(module, name, buffer[rows].clone())
    return part  # type: ignore[no-any-return]
