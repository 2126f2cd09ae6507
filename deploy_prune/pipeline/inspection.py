"""Load a model by the name that a person gives it, and say what can be removed from it."""

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from deploy_prune.count import count
from deploy_prune.errors import InputError
from deploy_prune.pruner.dependency import DependencyGraph
from deploy_prune.report.inspection import GroupEntry, Inspection
from deploy_prune.report.result import FrozenChannels

CLASSES = 80  # of an untrained YOLO architecture, which names none: COCO's, as Ultralytics takes them


def inspect_model(source: str, *, image_size: int, task: str) -> Inspection:
    """Analyse the dependencies of a model.

    Args:
        source: a YOLO ``.pt`` file, a YOLO architecture (``yolov8n.yaml``), or ``module:function`` that
            returns a module or a pair (module, example inputs).
        image_size: side in pixels of the example input (1, 3, H, W) where the function gives none.
        task: of a YOLO architecture, ``detect`` or ``segment``.

    Raises:
        InputError: there is no such model.
        ForwardError: it does not run on the example input.
    """
    model, inputs, kept_output = load_model(source, image_size=image_size, task=task)
    graph = DependencyGraph().build_dependency(model, inputs, output_transform=kept_output)
    counted = count(model, inputs)
    return Inspection(
        model=source,
        macs=counted.macs,
        params=counted.params,
        groups=tuple(
            GroupEntry(
                group.name,
                group.width,
                tuple(f"{one.target.name}.{one.parameter}[{one.axis}]" for one, _ in group),
            )
            for group in graph.get_all_groups()
        ),
        frozen=tuple(FrozenChannels(one.name, f"{one.reason} (at {one.place})") for one in graph.frozen),
        unknown=dict(graph.units.unknown),
        unreached=graph.units.unreached,
    )


def load_model(source: str, *, image_size: int, task: str) -> tuple[nn.Module, Any, Callable[[Any], Any] | None]:
    """The module that ``source`` names, example inputs, and which part of its output must keep its shape."""
    inputs = torch.rand(1, 3, image_size, image_size, generator=torch.Generator().manual_seed(0))
    if source.endswith((".pt", ".yaml", ".yml")):
        from deploy_prune.tasks import ultralytics_api as api
        from deploy_prune.tasks.ultralytics import UltralyticsTask

        yolo = UltralyticsTask(Path(), task=task, model=source, image_size=image_size)
        if source.endswith(".pt"):
            return api.load_network(Path(source)), inputs, yolo.kept_output
        return api.build_network(task, source, CLASSES, 0), inputs, yolo.kept_output
    module, separator, function = source.partition(":")
    if not (module and separator and function):
        raise InputError(
            f"cannot load {source!r}; expected a .pt file, a YOLO .yaml, or module:function such as "
            "torchvision.models:resnet18"
        )
    built = _call(module, function)
    model, inputs = built if isinstance(built, tuple) else (built, inputs)
    if not isinstance(model, nn.Module):
        raise InputError(f"{source} returned {type(model).__name__}; expected a torch.nn.Module")
    return model, inputs, None


def _call(module: str, function: str) -> Any:
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
        return getattr(found, function)()
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise InputError(f"{module}:{function} failed without arguments ({reason}); see --traceback") from error
