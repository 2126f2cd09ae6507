"""A model by the name that a person gives it."""

import difflib
import importlib
import inspect
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from deploy_prune.errors import InputError, MissingDependencyError
from deploy_prune.export.onnx import export_onnx
from deploy_prune.tasks.task import Task

CLASSES = 80  # of an untrained YOLO architecture, which names none: COCO's, as Ultralytics takes them
FRAMES = 16  # of a video clip, as torchvision's video models were trained


@dataclass(frozen=True)
class NamedModel:
    """A module, inputs that it runs on, and what picks from its output that which must keep its shape (None: all).

    ``task`` exports and saves modules of a framework that has its own ways.
    """

    module: nn.Module
    inputs: Any
    kept_output: Callable[[Any], Any] | None = None
    task: Task | None = None

    def export(self, module: nn.Module, path: Path, *, simplify: bool = True, dynamic: bool = False) -> Path:
        """Write a module, this one or a pruned one, as an ONNX file; with ``dynamic`` its axes are left open.

        Raises:
            InputError: it takes something else than one tensor.
            ExportError: see its class.
        """
        if self.task is not None:
            return self.task.export_onnx(module, path, simplify=simplify, dynamic=dynamic)
        if not isinstance(self.inputs, torch.Tensor):
            kind = type(self.inputs).__name__
            raise InputError(f"the model takes a {kind} as its input; only models of one tensor can be exported yet")
        return export_onnx(module, self.inputs, path, simplify=simplify, dynamic=dynamic)


def load_model(source: str, *, image_size: int | None, task: str) -> NamedModel:
    """The model that ``source`` names, with random weights unless it is a file; the same ones every time.

    Args:
        source: a YOLO ``.pt`` file, a YOLO architecture (``yolov8n.yaml``), ``torchvision/NAME``, ``timm/NAME``, or
            ``module:function`` that returns a module or a pair (module, example inputs).
        image_size: side in pixels of the example image; None: 640 for YOLO, what timm says, else 224.
        task: of a YOLO architecture: ``detect``, ``segment``, ``classify``, ``pose`` or ``obb``.

    Raises:
        InputError: there is no such model.
        MissingDependencyError: the library that has it is not installed.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return _load(source, image_size, task)


def _load(source: str, image_size: int | None, task: str) -> NamedModel:
    if source.endswith((".pt", ".yaml", ".yml")):
        return _load_yolo(source, image_size or 640, task)
    library, _, name = source.partition("/")
    if library == "timm" and name:
        return _build_timm(name, image_size)
    if library == "torchvision" and name:
        return _build_torchvision(name, image_size or 224)
    module, _, function = source.partition(":")
    if not (module and function):
        raise InputError(
            f"cannot load {source!r}; expected a .pt file, a YOLO .yaml, torchvision/NAME, timm/NAME, or "
            "module:function such as mymodels:build"
        )
    return _call(module, function, image_size or 224)


def _image(size: int, *leading: int) -> torch.Tensor:
    """Noise of shape (*leading, size, size)."""
    return torch.rand(*leading, size, size, generator=torch.Generator().manual_seed(0))


def _load_yolo(source: str, image_size: int, task: str) -> NamedModel:
    from deploy_prune.tasks import ultralytics_api as api
    from deploy_prune.tasks.ultralytics import UltralyticsTask

    yolo = UltralyticsTask(Path(), task=task, model=source, image_size=image_size)
    module = api.load_network(Path(source)) if source.endswith(".pt") else api.build_network(task, source, CLASSES, 0)
    return NamedModel(module, _image(image_size, 1, 3), yolo.kept_output, yolo)


def _build_timm(name: str, image_size: int | None) -> NamedModel:
    timm = _library("timm")
    known = timm.list_models()
    if name.partition(".")[0] not in known:
        raise _unknown("timm", name, known)
    module = timm.create_model(name, pretrained=False)
    channels, side, _ = timm.data.resolve_model_data_config(module)["input_size"]
    return NamedModel(module, _image(image_size or side, 1, channels))


def _build_torchvision(name: str, image_size: int) -> NamedModel:
    models = _library("torchvision").models
    if name not in models.list_models():
        raise _unknown("torchvision", name, models.list_models())
    build = models.get_model_builder(name)
    untrained = {key: None for key in ("weights", "weights_backbone") if key in inspect.signature(build).parameters}
    module, image = build(**untrained), _image(image_size, 1, 3)
    if name in models.list_models(module=models.detection):
        return NamedModel(module, ([image[0]],))
    if name in models.list_models(module=models.video):
        return NamedModel(module, _image(image_size, 1, 3, FRAMES))
    if name in models.list_models(module=models.optical_flow):
        return NamedModel(module, (image, image.flip(-1)))
    return NamedModel(module, image)


def library_models(library: str) -> tuple[str, ...]:
    """Names that a library lists; none for one that lists none, or is not installed."""
    if library not in ("timm", "torchvision"):
        return ()
    try:
        found = _library(library)
    except MissingDependencyError:
        return ()
    return tuple(found.list_models() if library == "timm" else found.models.list_models())


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingDependencyError(f"{name} is not installed; run: pip install 'deploy_prune[vision]'") from error


def _unknown(library: str, name: str, known: Sequence[str]) -> InputError:
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else "see its list_models()"
    return InputError(f"{library} has no model {name!r}; {hint}")


def _call(module: str, function: str, image_size: int) -> NamedModel:
    sys.path.insert(0, "")  # as `python -m` has it: modules of the working directory count
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise InputError(f"no module named {error.name!r}; give module:function, importable from here") from error
    finally:
        sys.path.remove("")
    if not callable(getattr(found, function, None)):
        raise InputError(f"module {module} has no function {function!r}; give one that returns the model")
    try:
        built = getattr(found, function)()
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise InputError(f"{module}:{function} failed without arguments ({reason}); see --traceback") from error
    model, inputs = built if isinstance(built, tuple) else (built, _image(image_size, 1, 3))
    if not isinstance(model, nn.Module):
        raise InputError(f"{module}:{function} returned {type(model).__name__}; expected a torch.nn.Module")
    return NamedModel(model, inputs)
