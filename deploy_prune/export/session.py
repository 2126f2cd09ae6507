"""ONNX files in ONNX Runtime, on the CPU."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deploy_prune.errors import ExportError, MissingDependencyError
from deploy_prune.export.onnx import read_operators


def open_onnx(path: Path) -> Callable[[NDArray[np.float32]], list[NDArray[np.float32]]]:
    """The function that a file of one input computes.

    Raises:
        ExportError: the file cannot be opened; of the function: it takes inputs of another shape.
        MissingDependencyError: onnxruntime is not installed.
    """
    session = open_session(path)
    feed = session.get_inputs()[0]

    def run(data: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        pairs = zip(feed.shape, data.shape, strict=False)  # a dynamic axis has a name
        if len(feed.shape) != data.ndim or any(isinstance(size, int) and size != got for size, got in pairs):
            raise ExportError(f"{path.name} takes inputs of {feed.shape}, got {list(data.shape)}")
        found: list[NDArray[np.float32]] = session.run(None, {feed.name: data})
        return found

    return run


def optimised_operators(path: Path) -> list[str]:
    """The operators of a file as ONNX Runtime executes them on this processor, in order.

    Raises:
        ExportError: the file cannot be opened.
        MissingDependencyError: onnxruntime or onnx is not installed.
    """
    with tempfile.TemporaryDirectory(prefix="deploy-prune-") as folder:
        optimised = Path(folder) / "optimised.onnx"
        open_session(path, optimised)
        return read_operators(optimised)


def open_session(path: Path, optimised: Path | None = None) -> Any:
    """An ``onnxruntime.InferenceSession``; ``optimised`` is where its graph is to be written."""
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingDependencyError(
            "running an export needs onnxruntime; run: pip install 'deploy_prune[onnx]'"
        ) from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # it warns that an optimised graph is for this processor, which is what is asked
    if optimised is not None:
        options.optimized_model_filepath = str(optimised)
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        reason = str(error).strip().split("\n")[0]
        raise ExportError(f"{path} is not a model that ONNX Runtime can open: {reason}") from error
