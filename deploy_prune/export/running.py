"""Run an exported file of any format, one input at a time, as its fixed shape wants."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from deploy_prune.errors import ExportError
from deploy_prune.export.ncnn import open_ncnn
from deploy_prune.export.openvino import open_ir
from deploy_prune.export.pt2 import open_pt2
from deploy_prune.export.session import open_onnx

Run = Callable[[NDArray[np.float32]], list[NDArray[np.float32]]]
"""One input (1, ...) to the outputs (1, ...), in the file's order."""

_OPENERS: dict[str, Callable[[Path], Run]] = {
    ".onnx": open_onnx,
    ".xml": open_ir,
    ".pt2": open_pt2,
    ".param": open_ncnn,
}
READABLE = tuple(_OPENERS)
"""Suffixes of the files that can be run here."""


def open_file(path: Path) -> Run:
    """The function that an exported file computes, on the CPU.

    Raises:
        ExportError: no format has this suffix, or the file is damaged.
        MissingDependencyError: what runs it is not installed.
    """
    if path.suffix not in _OPENERS:
        raise ExportError(f"{path} cannot be run; expected a file that ends in {', '.join(_OPENERS)}")
    return _OPENERS[path.suffix](path)


def run_file(path: Path, inputs: Tensor, run: Run | None = None) -> Iterator[list[NDArray[np.float32]]]:
    """Yield the outputs of the file at ``path`` for each of ``inputs`` (n, ...).

    Args:
        path: the file.
        inputs: as the file takes them, but for their number.
        run: what ``open_file`` gave for the file; None opens it.

    Raises:
        ExportError: the file cannot be opened, or takes inputs of another shape.
    """
    run = run or open_file(path)
    for one in inputs.split(1):
        yield run(one.numpy())
