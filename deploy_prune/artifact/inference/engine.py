"""Open a model of the artifact in its engine."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploy_prune.artifact.inference.refusal import RefusalError

if TYPE_CHECKING:  # no such expression on Python 3.8
    Run = Callable[[Any], list[Any]]  # an input (1, ...) to the outputs, each (1, ...), in the manifest's order


def choose_model(manifest: dict[str, Any], name: str | None) -> dict[str, Any]:
    """The manifest's entry of the model file ``name``; None: the first.

    Raises:
        RefusalError: there is no such model.
    """
    models = {model["file"]: model for model in manifest["models"]}
    if name is not None and name not in models:
        raise RefusalError(f"the manifest has no model {name!r}; choose one of: {', '.join(models)}")
    chosen: dict[str, Any] = models[name] if name is not None else manifest["models"][0]
    return chosen


def find_obstacle(model: dict[str, Any]) -> str | None:
    """Why a model cannot run here, whatever its file holds; None: it can."""
    engine = model["engine"]
    if engine not in ENGINES:
        return f"{model['file']} is for {engine}, which this code does not run"
    if importlib.util.find_spec(engine) is None:
        return f"{model['file']} is for {engine}, which is not installed"
    return None


def open_model(folder: Path, model: dict[str, Any]) -> Run:
    """The function that a model computes.

    Raises:
        RefusalError: its engine is not known here or not installed, or does not open the file.
    """
    obstacle = find_obstacle(model)
    if obstacle is not None:
        raise RefusalError(obstacle)
    try:
        return ENGINES[model["engine"]](folder / model["file"], model)
    except Exception as error:  # every engine has its own
        raise RefusalError(f"{model['file']} cannot be opened: {str(error).strip().splitlines()[0]}") from error


def _open_onnxruntime(path: Path, model: dict[str, Any]) -> Run:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    given, outputs = model["inputs"][0]["name"], [output["name"] for output in model["outputs"]]
    return lambda values: list(session.run(outputs, {given: values}))


def _open_openvino(path: Path, model: dict[str, Any]) -> Run:
    import openvino

    # else it computes in bfloat16 where the processor has it
    compiled = openvino.Core().compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    count = len(model["outputs"])

    def run(values: Any) -> list[Any]:
        found = compiled(values)
        return [found[i] for i in range(count)]

    return run


ENGINES: dict[str, Callable[[Path, dict[str, Any]], Run]] = {
    "onnxruntime": _open_onnxruntime,
    "openvino": _open_openvino,
}
"""By the name of its Python package, how an engine opens a file."""
