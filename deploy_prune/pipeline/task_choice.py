"""From a recipe to the task that it means: whose networks, which data, which settings."""

import dataclasses
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from deploy_prune.datasets.formats import FORMATS
from deploy_prune.errors import InputError
from deploy_prune.pipeline.recipe import Recipe
from deploy_prune.pipeline.recipe_sections import TrainRecipe
from deploy_prune.tasks.task import Task


def make_task(recipe: Recipe, written: Path) -> Task:
    """Return the recipe's task on the user's own data or, if the recipe names embedded images, on those in ``written``.

    Raises:
        InputError: the task does not know a setting of the recipe, or its file has no such class.
    """
    data = Path(recipe.data.path) if recipe.data.path else written / FORMATS[embedded_format(recipe)].entry
    if recipe.library == "own":
        return _make_own(recipe, data)
    if recipe.library == "ultralytics":
        return _make_yolo(recipe, data)
    return _make_classification(recipe, data) if recipe.task == "classify" else _make_dense(recipe, data)


def embedded_format(recipe: Recipe) -> str:
    """The format in which the embedded images are written for the recipe's task."""
    task, difficulty = "classify" if recipe.library == "own" else recipe.task, recipe.data.difficulty
    if recipe.library == "torchvision" and task in ("detect", "segment"):
        return "coco"
    if task != "classify":
        return task
    return {"plain": "digits", "easy": "classify"}.get(difficulty, f"classify-{difficulty}")


def _make_yolo(recipe: Recipe, data: Path) -> Task:
    from deploy_prune.tasks.schedule import FINETUNING, TRAINING
    from deploy_prune.tasks.ultralytics import UltralyticsTask

    return UltralyticsTask(
        data=data,
        task=recipe.task,
        model=recipe.model,
        image_size=recipe.data.image_size,
        seed=recipe.seed,
        training=_changed("train", recipe.train, TRAINING)[0],
        finetuning=_changed("finetune", recipe.finetune, FINETUNING)[0],
    )


def _make_classification(recipe: Recipe, data: Path) -> Task:
    from deploy_prune.tasks.classification import FINETUNING, TRAINING, Augmentation, ClassificationTask
    from deploy_prune.tasks.distillation import Distillation

    training, augmentation = _changed("train", recipe.train, TRAINING, Augmentation())
    # on pictures changed as for the dense network
    finetuning, distillation = _changed("finetune", recipe.finetune, FINETUNING, Distillation())
    said = recipe.data.name is not None or "image_size" in recipe.data.model_fields_set
    return ClassificationTask(
        data=data,
        model=recipe.model,
        image_size=recipe.data.image_size if said else None,
        weights=recipe.weights,
        seed=recipe.seed,
        training=training,
        finetuning=finetuning,
        augmentation=augmentation,
        distillation=distillation,
    )


def _make_dense(recipe: Recipe, data: Path) -> Task:
    from deploy_prune.tasks.dense import AUGMENTATION, DISTILLATION, FINETUNING, TRAINING
    from deploy_prune.tasks.detection import DetectionTask, InstanceTask
    from deploy_prune.tasks.semantic import SemanticTask

    training, augmentation = _changed("train", recipe.train, TRAINING, AUGMENTATION)
    # on pictures changed as for the dense network
    finetuning, distillation = _changed("finetune", recipe.finetune, FINETUNING, DISTILLATION)
    kinds: dict[str, Callable[..., Task]] = {
        "semantic": SemanticTask,
        "detect": DetectionTask,
        "segment": InstanceTask,
    }
    return kinds[recipe.task](
        data=data,
        model=recipe.model,
        weights=recipe.weights,
        image_size=recipe.data.image_size,
        seed=recipe.seed,
        training=training,
        finetuning=finetuning,
        augmentation=augmentation,
        distillation=distillation,
    )


def _make_own(recipe: Recipe, data: Path) -> Task:
    """Call the class of the user's file with the folder of the data, the image size and the seed."""
    from deploy_prune.tasks.torch_task import TorchTask

    file, _, name = recipe.task.rpartition(":")
    module = _load_file(Path(file))
    made = getattr(module, name, None)
    if not callable(made):
        raise InputError(f"{file} has no class {name!r}; give the name of your task's class after the colon")
    try:
        task = made(data, recipe.data.image_size, recipe.seed)
    except TypeError as error:
        raise InputError(f"{recipe.task} cannot be called with (data folder, image size, seed): {error}") from error
    if not isinstance(task, TorchTask):
        raise InputError(f"{recipe.task} is no TorchTask; derive it from deploy_prune.tasks.torch_task.TorchTask")
    (task.training,) = _changed("train", recipe.train, task.training)
    task.finetuning, task.distillation = _changed("finetune", recipe.finetune, task.finetuning, task.distillation)
    return task


def _load_file(path: Path) -> object:
    """Import a file, under a name by which pickled networks of its classes are found again."""
    name = f"deploy_prune_own_{path.stem}"
    if not path.is_file():
        raise InputError(f"no such file: {path}; expected a Python file with your task, as in task: my_task.py:MyTask")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None, "the path ends in .py"
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise InputError(f"{path} cannot be imported: {type(error).__name__}: {error}") from error
    return module


def _changed(section: str, recipe: TrainRecipe, *settings: Any) -> tuple[Any, ...]:
    """Return settings (dataclasses) with what a section of the recipe changes.

    Raises:
        InputError: the section has a setting that none of them knows.
    """
    changes = recipe.changes()
    known = [{field.name for field in dataclasses.fields(one)} for one in settings]
    for name in changes:
        if not any(name in names for names in known):
            listed = ", ".join(sorted(set().union(*known) & set(type(recipe).model_fields)))
            raise InputError(f"{section}.{name}: this task has no such setting; it has {listed}")
    return tuple(
        dataclasses.replace(one, **{name: changes[name] for name in changes.keys() & names})
        for one, names in zip(settings, known, strict=True)
    )
