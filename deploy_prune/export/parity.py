"""Does the exported file compute what the PyTorch module computes?"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from deploy_prune.errors import ExportError
from deploy_prune.export.running import run_file

# Float32 sums in another order differ by about 1e-6 of the output's size on the networks tried (ResNet,
# MobileNet, YOLOv8); a wrong layer differs by 1e-2 and more.
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Parity:
    """Differences between the outputs of a PyTorch module and of its exported file.

    Attributes:
        max_abs: largest difference, in the unit of the output.
        mean_abs: mean difference, in the unit of the output.
        max_rel: largest difference as a fraction of the output's largest value; if an output has three axes
            or more, of its channel's (second axis) largest value, since boxes are large and scores small.
        inputs: how many inputs were compared.
    """

    max_abs: float
    mean_abs: float
    max_rel: float
    inputs: int


def check_parity(model: nn.Module, onnx_path: Path, inputs: Tensor, *, tolerance: float = TOLERANCE) -> Parity:
    """Compare ``model`` (in eval mode) with the file at ``onnx_path`` on ``inputs`` (n, ...), one at a time.

    Raises:
        ExportError: ``max_rel`` is above ``tolerance``, or the outputs differ in number or shape.
    """
    computed = run_file(onnx_path, inputs)
    was_training = model.training
    model.eval()
    pairs: list[tuple[np.ndarray, np.ndarray]] = []
    try:
        for one, got in zip(inputs.split(1), computed, strict=True):
            with torch.no_grad():
                expected = [tensor.numpy() for tensor in _tensors(model(one))]
            pairs += _match(expected, got, onnx_path)
    finally:
        model.train(was_training)
    parity = _summarise(pairs, len(inputs))
    if not parity.max_rel <= tolerance:
        raise ExportError(
            f"{onnx_path.name} does not compute what the PyTorch module does: they differ by up to "
            f"{parity.max_abs:.3g}, {parity.max_rel:.1e} of its size, over the allowed {tolerance:.0e}; "
            "export again from the module that was given, and report the layer if it stays"
        )
    return parity


def _match(expected: list[np.ndarray], got: list[np.ndarray], path: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    # A module may return more than it exports (YOLO's raw feature maps): the file's outputs come first.
    shapes = [array.shape for array in expected[: len(got)]]
    if shapes != [array.shape for array in got]:
        raise ExportError(
            f"{path.name} returns {[array.shape for array in got]} and the PyTorch module {shapes}; "
            "export the module that is compared, at the input size that is compared"
        )
    return list(zip(expected, got, strict=False))


def _summarise(pairs: list[tuple[np.ndarray, np.ndarray]], inputs: int) -> Parity:
    outputs = len(pairs) // inputs
    errors, relative = [], []
    for output in range(outputs):
        expected = np.concatenate([pair[0] for pair in pairs[output::outputs]]).astype(np.float64)
        got = np.concatenate([pair[1] for pair in pairs[output::outputs]]).astype(np.float64)
        error = np.abs(expected - got)
        errors.append(error.ravel())
        relative.append((error / _scale(expected)).max())
    everything = np.concatenate(errors)
    return Parity(float(everything.max()), float(everything.mean()), float(max(relative)), inputs)


def _scale(expected: np.ndarray) -> np.ndarray:
    """Return the size of each channel of ``expected``, but at least a thousandth of the whole output's."""
    size: np.ndarray = np.abs(expected)
    whole = max(float(size.max()), 1e-30)
    if expected.ndim < 3:
        return np.full((1,) * expected.ndim, whole)
    channels = size.max(axis=(0, *range(2, expected.ndim)), keepdims=True)
    return np.maximum(channels, 1e-3 * whole)


def _tensors(output: Any) -> Iterator[Tensor]:
    """Yield the tensors in a module's output, depth first."""
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, dict):
        for value in output.values():
            yield from _tensors(value)
    elif isinstance(output, (list, tuple)):
        for value in output:
            yield from _tensors(value)
