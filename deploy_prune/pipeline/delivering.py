"""What is delivered in several formats: of a run in its own stage, or of any network by ``deploy-prune export``."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import Progress

from deploy_prune.datasets.calibration import read_calibration
from deploy_prune.errors import InputError
from deploy_prune.export.formats import NO_RANGES
from deploy_prune.hardware.profile import DEFAULT_PROFILE, HardwareProfile, load_profile
from deploy_prune.pipeline.export_files import ExportSubject, export_files
from deploy_prune.pipeline.export_request import ExportRequest
from deploy_prune.pipeline.handover import DIGITS, FINETUNED_MODEL
from deploy_prune.pipeline.modelling import open_task
from deploy_prune.pipeline.named_model import load_model
from deploy_prune.pipeline.recipe import read_recipe
from deploy_prune.pipeline.runner import StageContext
from deploy_prune.pipeline.settings import RunSettings, require_packages
from deploy_prune.report.exports import ExportedFile
from deploy_prune.tasks.task import Task

PARITY_IMAGES = 8
"""Inputs on which a file is compared with its network, where nothing else is said."""


def write_formats(settings: RunSettings, context: StageContext) -> str:
    """Write the pruned network in the formats and precisions that the recipe asks for."""
    recipe, task = settings.recipe, open_task(settings, context)
    subject = _of_task(
        task, context.output_file(FINETUNED_MODEL), f"{recipe.name}_pruned", settings.profile,
        recipe.export.parity_images, recipe.export.int8_images if recipe.export.int8 else 0,
    )  # fmt: skip
    files = export_files(subject, ExportRequest.of(recipe.export), context.work, context.progress)
    shutil.copytree(context.work, context.out, dirs_exist_ok=True)
    return f"{len(files)} files: " + ", ".join(f"{one.format} {one.precision}" for one in files)


def export_named(
    source: str,
    request: ExportRequest,
    folder: Path,
    profile: HardwareProfile | None,
    *,
    data: Path | None = None,
    images: int = 16,
    image_size: int | None = None,
    task: str = "detect",
    console: Console | None = None,
) -> tuple[ExportedFile, ...]:
    """Deliver what ``source`` names: the folder of a run, or a model as ``load_model`` takes it.

    Args:
        source: a run's folder has everything; its finetuned network is judged by its task.
        request: which files.
        folder: where they go.
        profile: the device; None: that of the run's recipe, else the default.
        data: of a model: a YOLO data set's ``.yaml``, by which files are judged and INT8 calibrated, or what
            ``read_calibration`` takes, for INT8 alone.
        images: how many inputs INT8 is calibrated on.
        image_size: side of a model's input in pixels.
        task: of a YOLO architecture.
        console: shows progress while it is a terminal.

    Raises:
        InputError, ExportError, MissingDependencyError, MeasurementError: see their classes.
    """
    require_packages(request.packages)
    calibrated = images if "int8" in request.precisions else 0
    if Path(source, "recipe.yaml").is_file():
        subject = _of_run(Path(source), profile, calibrated)
    else:
        subject = _of_model(source, profile, data, calibrated, image_size, task)
    with Progress(console=console, transient=True, disable=console is None or not console.is_terminal) as progress:
        return export_files(subject, request, folder, progress)


def _of_run(folder: Path, profile: HardwareProfile | None, images: int) -> ExportSubject:
    settings = RunSettings.of(read_recipe(folder / "recipe.yaml"))
    model = folder / FINETUNED_MODEL
    if not model.is_file():
        raise InputError(
            f"{folder} has no {FINETUNED_MODEL}; finish the run first: deploy-prune run RECIPE --out {folder}"
        )
    task, name = settings.task(folder / DIGITS), f"{settings.recipe.name}_pruned"
    parity_images = settings.recipe.export.parity_images
    return _of_task(task, model, name, profile or settings.profile, parity_images, images)


def _of_task(
    task: Task, model: Path, name: str, profile: HardwareProfile, parity_images: int, images: int
) -> ExportSubject:
    return ExportSubject(
        name=name,
        model=task.load(model),
        inputs=task.calibration_inputs(parity_images),
        export=task.export_onnx,
        profile=profile,
        calibration=task.calibration_inputs(min(images, task.training_images())) if images else None,
        judge=lambda file: task.evaluate(file).value,
        metric_name=task.metric_name,
        classifies=task.name == "classify",
    )


def _of_model(
    source: str, profile: HardwareProfile | None, data: Path | None, images: int, image_size: int | None, task: str
) -> ExportSubject:
    profile = profile or load_profile(DEFAULT_PROFILE)
    named = load_model(source, image_size=image_size, task=task)
    name = re.sub(r"[^\w.-]+", "_", Path(source).stem)
    if data is not None and data.suffix in (".yaml", ".yml"):
        from deploy_prune.tasks.ultralytics import UltralyticsTask

        if not isinstance(named.task, UltralyticsTask) or not source.endswith(".pt"):
            raise InputError(
                f"{data} describes a YOLO data set, and {source} is no YOLO .pt file; give pictures instead"
            )
        judging = UltralyticsTask(
            data, task=getattr(named.module, "task", task), model=source, image_size=named.inputs.shape[-1]
        )
        return _of_task(judging, Path(source), name, profile, PARITY_IMAGES, images)
    if not isinstance(named.inputs, torch.Tensor):
        raise InputError(
            f"{source} takes a {type(named.inputs).__name__}; only models of one tensor can be exported yet"
        )
    if images and data is None:
        raise InputError(NO_RANGES)
    real = None if data is None else torch.from_numpy(read_calibration(data, named.inputs.shape[1:]))
    return ExportSubject(
        name=name,
        model=named.module,
        inputs=named.inputs if real is None else real[:PARITY_IMAGES],
        export=named.export,
        profile=profile,
        calibration=real,
    )
