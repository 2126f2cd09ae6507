"""The gradients that criteria of first and second order score by, taken on calibration data."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from deploy_prune.errors import InputError
from deploy_prune.graph.preserve import preserved
from deploy_prune.importance.calibration import Calibration, Outputs
from deploy_prune.importance.per_sample import PerSampleImportance
from deploy_prune.importance.taylor import GroupTaylorImportance

SEED = 0
"""Of the directions in which outputs are looked at where there is no loss."""


def needs_gradients(criterion: Any) -> bool:
    """Whether a criterion scores by gradients."""
    return isinstance(criterion, (GroupTaylorImportance, PerSampleImportance))


@contextmanager
def gradients(criterion: Any, model: nn.Module, calibration: Calibration) -> Iterator[None]:
    """Within the block ``criterion`` can score the model's groups; afterwards all is as it was, gradients too.

    Gradients are those of the loss, in eval mode, sample by sample for criteria that square them. Where there is no
    loss they are those of the outputs in a random direction (normal, one per sample): their squares estimate the
    Gauss-Newton matrix of the squared distance from the dense outputs, whose own gradient is zero there.

    Raises:
        InputError: the loss is not one number that gradients flow through.
    """
    per_sample = criterion if isinstance(criterion, PerSampleImportance) else None
    one_by_one = per_sample is not None or calibration.loss is None
    with preserved(model), torch.enable_grad():
        model.eval()
        for parameter in model.parameters():
            parameter.grad = None
            parameter.requires_grad_(parameter.is_floating_point())
        if per_sample is not None:
            per_sample.zero_grad()
        generator = torch.Generator().manual_seed(SEED)
        for batch in calibration.samples() if one_by_one else calibration.batches:
            _scalar(model, batch, calibration, generator).backward()
            if per_sample is not None:
                per_sample.accumulate_grad(model)
                model.zero_grad()
        yield


def _scalar(model: nn.Module, batch: Any, calibration: Calibration, generator: torch.Generator) -> torch.Tensor:
    """The loss of a batch, or its outputs along a random direction."""
    if calibration.loss is None:
        return _projected(calibration.outputs(model, batch), generator)
    found = calibration.loss(model, batch)
    if not isinstance(found, torch.Tensor) or found.numel() != 1 or not found.requires_grad:
        shape = f"a tensor of shape {tuple(found.shape)}" if isinstance(found, torch.Tensor) else repr(found)
        grad = "" if getattr(found, "requires_grad", True) else " without gradient"
        raise InputError(f"loss_fn returned {shape}{grad}; expected one number, the batch's mean loss, with gradient")
    return found.sum()


def _projected(outputs: Outputs, generator: torch.Generator) -> torch.Tensor:
    """Sum over output tensors of their part along a random direction, as a share of their length."""
    parts = []
    for output in outputs:
        if output.requires_grad:
            direction = torch.randn(output.shape, generator=generator).to(output)
            parts.append((output * direction).sum() / output.detach().norm().clamp_min(1e-30))
    if not parts:
        raise InputError("no gradient flows to the model's output; give a loss_fn, or importance l1 or l2")
    return torch.stack(parts).sum()
