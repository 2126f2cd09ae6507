"""The better of several INT8 versions of a file: ranges found in two ways, and with or without the last layers."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from deploy_prune.export.int8 import X86, Calibration, Scheme, float_nodes, quantise_static
from deploy_prune.export.running import run_file

CALIBRATIONS: tuple[Calibration, ...] = ("minmax", "percentile")
"""What is tried. Of YOLOv8n on digits, pruned (docs/precision.md), both lose 0.1 points; entropy 0.0 and 0.4."""


@dataclass(frozen=True)
class Int8Attempt:
    """One version: how ranges were found, how many of the last layers stayed float, and its score; more is better."""

    calibration: Calibration
    kept: int
    score: float

    def __str__(self) -> str:
        float_ones = {0: "all layers", 1: "last layer float"}.get(self.kept, f"last {self.kept} layers float")
        return f"{self.calibration}, {float_ones}"


def quantise_best(
    source: Path,
    target: Path,
    inputs: Tensor,
    judge: Callable[[Path], float] | None,
    *,
    scheme: Scheme = X86,
    try_all_layers: bool = False,
) -> tuple[Int8Attempt, ...]:
    """Write the version of ``source`` that ``judge`` gives the highest score; the attempts, best first.

    Args:
        source: the exported file, of one input.
        target: where the best version goes.
        inputs: calibration data (n, ...).
        judge: the task's metric of a file; None: how near its outputs are to the source's (``likeness``).
        scheme: the integers.
        try_all_layers: whether versions are tried too that leave nothing float. A classifier's last layer may bear it;
            a detector's boxes, pixels in the hundreds beside scores below one, do not.

    Raises:
        ExportError, MissingDependencyError: see ``quantise_static``.
    """
    last = float_nodes(source)
    keeps: list[Collection[str]] = [last, []] if try_all_layers else [last]
    attempts: list[Int8Attempt] = []
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as folder:
        best = Path(folder) / "best.onnx"
        for keep in keeps:
            for calibration in CALIBRATIONS:
                tried = Path(folder) / "tried.onnx"
                quantise_static(source, tried, inputs, scheme=scheme, calibration=calibration, keep=keep)
                score = likeness(source, tried, inputs) if judge is None else judge(tried)
                if not attempts or score > max(one.score for one in attempts):
                    tried.replace(best)
                attempts.append(Int8Attempt(calibration, len(keep), score))
        best.replace(target)
    return tuple(sorted(attempts, key=lambda one: -one.score))


def likeness(source: Path, other: Path, inputs: Tensor) -> float:
    """How near the outputs of ``other`` are to those of ``source``: the signal-to-noise ratio in decibels.

    Of several outputs the lowest counts. Without a metric it tells which of two versions changes less, and no more.
    """
    pairs = list(zip(run_file(source, inputs), run_file(other, inputs), strict=True))
    ratios = []
    for output in range(len(pairs[0][0])):
        wanted = np.concatenate([one[output].ravel() for one, _ in pairs]).astype(np.float64)
        got = np.concatenate([two[output].ravel() for _, two in pairs]).astype(np.float64)
        noise = float(np.mean((got - wanted) ** 2))
        ratios.append(10 * np.log10(float(np.mean(wanted**2)) / noise) if noise else np.inf)
    return float(min(ratios))
