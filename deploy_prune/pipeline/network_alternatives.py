"""Alternatives to a network that comes without a task: their latencies, since nothing can judge their outputs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from deploy_prune.export.onnx import export_onnx
from deploy_prune.pipeline.alternatives import SHARES, Candidate, int8_versions
from deploy_prune.pipeline.family import smaller_models
from deploy_prune.pipeline.named_model import load_model

SIDE_STEP = 32
"""Lower resolutions are multiples of this, as most backbones' strides ask for."""


def network_candidates(
    source: str | None, model: nn.Module, inputs: Tensor, dense: Path, calibration: Tensor | None = None
) -> list[Candidate]:
    """Lower resolutions of a network, smaller ones of its family, and its file in INT8; none is evaluated.

    Args:
        source: its name (``torchvision/resnet50``) if it has one, by which the family is found.
        model: the dense network.
        inputs: one input (1, 3, H, W).
        dense: its ONNX file.
        calibration: real inputs (n, 3, H, W) for INT8; ``inputs`` if there are none, which tells latency alone.
    """
    smaller = smaller_models(source) if source else ()
    return [
        *_resolutions(model, inputs),
        *(Candidate(name, "smaller", _builder(name, inputs), None, "untrained: its latency only") for name in smaller),
        *int8_versions(dense, inputs if calibration is None else calibration, None),
    ]


def _resolutions(model: nn.Module, inputs: Tensor) -> list[Candidate]:
    """The network at lower sizes; where it does not take one, exporting says so and it is left out."""
    side = inputs.shape[-1]
    sides = dict.fromkeys(max(round(share * side / SIDE_STEP) * SIDE_STEP, SIDE_STEP) for share in SHARES)
    note = "the dense weights as they are, not evaluated"
    return [
        Candidate(f"dense at {one} pixels", "resolution", _writer(model, _resize(inputs, one)), None, note)
        for one in sides
        if one < side
    ]


def _resize(inputs: Tensor, side: int) -> Tensor:
    height = round(inputs.shape[-2] * side / inputs.shape[-1])
    return F.interpolate(inputs, size=(height, side))


def _writer(model: nn.Module, inputs: Tensor) -> Callable[[Path], Path]:
    return lambda path: export_onnx(model, inputs, path)


def _builder(name: str, inputs: Tensor) -> Callable[[Path], Path]:
    def write(path: Path) -> Path:
        torch.manual_seed(0)
        return export_onnx(load_model(name, image_size=inputs.shape[-1], task="detect").module, inputs, path)

    return write
