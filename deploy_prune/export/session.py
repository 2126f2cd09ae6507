"""Run an exported file, one input at a time, as its fixed shape wants."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from deploy_prune.errors import ExportError, MissingDependencyError
from deploy_prune.export.onnx import read_operators


def run_file(path: Path, inputs: Tensor, session: Any = None) -> Iterator[list[NDArray[np.float32]]]:
    """Yield the outputs of the ONNX file at ``path``, in ONNX Runtime, for each of ``inputs`` (n, ...).

    Args:
        path: the file.
        inputs: as the file takes them, but for their number.
        session: what ``open_session`` gave for the file; None opens it.

    Raises:
        ExportError: the file cannot be opened, or takes inputs of another shape.
    """
    session = session or open_session(path)
    feed = session.get_inputs()[0]
    if list(inputs[:1].shape) != feed.shape:
        raise ExportError(f"{path.name} takes inputs of {feed.shape}, got {list(inputs[:1].shape)}")
    for one in inputs.split(1):
        yield session.run(None, {feed.name: one.numpy()})


def open_session(path: Path) -> Any:
    """Return an ``onnxruntime.InferenceSession`` on the CPU."""
    return _open(path)


def optimised_operators(path: Path) -> list[str]:
    """The operators of a file as ONNX Runtime executes them on this processor, in order.

    Raises:
        ExportError: the file cannot be opened.
        MissingDependencyError: onnxruntime or onnx is not installed.
    """
    with tempfile.TemporaryDirectory(prefix="deploy-prune-") as folder:
        optimised = Path(folder) / "optimised.onnx"
        _open(path, optimised)
        return read_operators(optimised)


def _open(path: Path, optimised: Path | None = None) -> Any:
    """A session; ``optimised`` is where its graph is to be written."""
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
