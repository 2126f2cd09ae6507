"""Layers that can be fitted anew, and their inputs and outputs as rows."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from deploy_prune.errors import PlanError
from deploy_prune.pruner.plan import Plan

KINDS = (nn.Conv1d, nn.Conv2d, nn.Linear)
"""Exactly these: what a subclass does with its weight is not known."""


@dataclass(frozen=True)
class Layer:
    """A layer that stands in both models.

    Attributes:
        name: of the module.
        kept: the dense layer's output channels that stay, ascending; None: all.
        lost_inputs: whether input channels, or whole groups of a grouped convolution, are gone.
    """

    name: str
    kept: tuple[int, ...] | None
    lost_inputs: bool


@dataclass(frozen=True)
class LayerError:
    """Squared error of a layer's outputs on held-out rows over the outputs' squared size, before and after a change.

    ``kept`` says whether the change was made: only where the error falls.
    """

    name: str
    before: float
    after: float
    kept: bool


def find_layers(dense: nn.Module, pruned: nn.Module, plan: Plan) -> dict[str, Layer]:
    """The layers of a pruned model whose weights are theirs alone and stand for those of the same name in the dense.

    Raises:
        PlanError: the plan does not lead from the one model to the other.
    """
    _check_sizes(dense, pruned, plan)
    cuts: dict[str, dict[int, tuple[int, ...]]] = defaultdict(dict)
    for cut in plan.cuts:
        cuts[cut.parameter][cut.axis] = cut.kept
    originals = dict(dense.named_modules())
    owners = Counter(id(p) for m in pruned.modules() for p in m._parameters.values() if p is not None)
    found = {}
    for name, module in pruned.named_modules():
        original: Any = originals.get(name)
        weight = module._parameters.get("weight")
        if type(module) not in KINDS or type(original) is not type(module) or weight is None or owners[id(weight)] > 1:
            continue
        if not weight.is_floating_point() or (module.bias is not None and owners[id(module.bias)] > 1):
            continue
        own = cuts[f"{name}.weight"] if name else cuts["weight"]
        regrouped = getattr(original, "groups", 1) != getattr(module, "groups", 1)
        found[name] = Layer(name, own.get(0), 1 in own or regrouped)
    return found


def _check_sizes(dense: nn.Module, pruned: nn.Module, plan: Plan) -> None:
    """Every axis that the plan cuts has its size before in the one model and its size after in the other."""
    tensors = [
        dict((*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)))
        for model in (dense, pruned)
    ]
    for cut in plan.cuts:
        if any(cut.parameter not in own or own[cut.parameter].ndim <= cut.axis for own in tensors):
            raise PlanError(f"the plan cuts axis {cut.axis} of {cut.parameter}, which is not in both models; {_GIVE}")
        found = tuple(own[cut.parameter].shape[cut.axis] for own in tensors)
        if found != (cut.size, len(cut.kept)):
            raise PlanError(
                f"the plan cuts axis {cut.axis} of {cut.parameter} from {cut.size} to {len(cut.kept)}, and the models "
                f"have {found[0]} and {found[1]}; {_GIVE}"
            )


_GIVE = "give the dense model, and what this plan made of it"


def output_rows(module: Any, output: torch.Tensor) -> torch.Tensor:
    """A layer's output with one row per sample and position: (rows, channels); a view where that is possible."""
    if not isinstance(module, nn.Linear):
        output = _batched(module, output).movedim(1, -1)
    return output.reshape(-1, output.shape[-1])


def input_rows(module: Any, x: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """What a layer's outputs at ``rows`` (n,) of :func:`output_rows` are computed from: (n, groups, features).

    Features are in the order of ``module.weight[out]``: input channels of the group, then the kernel's positions.
    """
    if isinstance(module, nn.Linear):
        return x.reshape(-1, x.shape[-1])[rows][:, None]
    x = _batched(module, x)
    mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
    x = F.pad(x, module._reversed_padding_repeated_twice, mode=mode)
    kernel, stride, dilation = module.kernel_size, module.stride, module.dilation
    if isinstance(module, nn.Conv1d):
        x, kernel, stride, dilation = x[:, :, None], (1, *kernel), (1, *stride), (1, *dilation)
    height, width = ((x.shape[2 + i] - dilation[i] * (kernel[i] - 1) - 1) // stride[i] + 1 for i in range(2))
    sample, top, left = rows // (height * width), rows // width % height, rows % width
    y = top[:, None] * stride[0] + dilation[0] * torch.arange(kernel[0], device=x.device)  # (n, kh)
    z = left[:, None] * stride[1] + dilation[1] * torch.arange(kernel[1], device=x.device)  # (n, kw)
    patches = x[sample[:, None, None], :, y[:, :, None], z[:, None, :]]  # (n, kh, kw, channels)
    return patches.permute(0, 3, 1, 2).reshape(len(rows), module.groups, -1)


def weight_matrix(module: Any) -> torch.Tensor:
    """A layer's weight in float64 as one matrix per group: (groups, features, outputs of the group)."""
    groups = getattr(module, "groups", 1)
    weight = module.weight.detach().to(accurate(module.weight)).double()
    return weight.reshape(groups, len(weight) // groups, -1).transpose(1, 2)


@torch.no_grad()
def set_weight(module: Any, matrix: torch.Tensor) -> None:
    """Write what :func:`weight_matrix` returns."""
    module.weight.copy_(matrix.transpose(1, 2).reshape(module.weight.shape))


def accurate(tensor: torch.Tensor) -> torch.device:
    """Where float64 can be had for a tensor, as ``tensor.to(accurate(tensor))``: its device, or the CPU for MPS."""
    return torch.device("cpu") if tensor.device.type == "mps" else tensor.device


def _batched(module: Any, tensor: torch.Tensor) -> torch.Tensor:
    return tensor if tensor.ndim == module.weight.ndim else tensor[None]
