"""What a run is set to: recipe, hardware profile and machine, checked before anything is spent."""

import hashlib
import importlib.metadata
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from deploy_prune.errors import InputError, MissingDependencyError
from deploy_prune.hardware.availability import require_one_precision, require_searchable
from deploy_prune.hardware.machine import Machine
from deploy_prune.hardware.profile import HardwareProfile, load_profile
from deploy_prune.pipeline.recipe import Recipe
from deploy_prune.runtime.hosts import find_host

if TYPE_CHECKING:  # they import torch, which mistakes in a recipe need not wait for
    from deploy_prune.importance import Importance
    from deploy_prune.importance.calibration import Calibration
    from deploy_prune.tasks.task import Task

NEEDED = {
    "onnx": ("export", "onnx"),
    "onnxslim": ("export", "onnx"),
    "onnxruntime": ("measuring", "onnx"),
    "matplotlib": ("plots", "report"),
}
_NEEDED_FOR_LIBRARY = {
    "ultralytics": {"ultralytics": ("YOLO networks", "yolo")},
    "torchvision": {
        "torchvision": ("networks and augmentation", "vision"),
        "lightning_fabric": ("training", "vision"),
    },
}
_NEEDED_FOR_LIBRARY["timm"] = _NEEDED_FOR_LIBRARY["torchvision"] | {"timm": ("networks", "vision")}
_NEEDED_FOR_LIBRARY["own"] = {"lightning_fabric": ("training", "vision")}
_NEEDED_FOR_SCORE = {"torchmetrics": ("mIoU and mAP", "vision"), "faster_coco_eval": ("mAP", "vision")}
_NEEDED_FOR_DIGITS = {"sklearn": ("embedded images", "data"), "skimage": ("embedded images", "data")}


@dataclass(frozen=True)
class RunSettings:
    """The recipe with its profile read, those of further latency budgets too (``others``), and its machine known."""

    recipe: Recipe
    profile: HardwareProfile
    machine: Machine
    others: tuple[HardwareProfile, ...] = ()

    @classmethod
    def of(cls, recipe: Recipe) -> "RunSettings":
        """Look up what the recipe names.

        Raises:
            InputError: the profile or a file that the recipe names is not usable.
            MissingDependencyError: a package that the run will need is not installed.
        """
        others = tuple(load_profile(one.profile) for one in recipe.budget.also)
        profile = load_profile(recipe.profile)
        settings = cls(recipe, profile, find_host(profile).machine, others)
        scored = _NEEDED_FOR_SCORE if recipe.library == "torchvision" and recipe.task != "classify" else {}
        digits = _NEEDED_FOR_DIGITS if recipe.data.name else {}
        require_packages(NEEDED | _NEEDED_FOR_LIBRARY[recipe.library] | scored | digits)
        for one in (profile, *others):
            require_searchable(one, find_host(one))
        settings.facts()
        require_one_precision(profile, others)
        if recipe.export.asks_more:
            from deploy_prune.pipeline.export_request import ExportRequest

            require_packages(ExportRequest.of(recipe.export).packages)
        return settings

    def task(self, written_data: Path) -> "Task":
        """The task on the user's own data or, if the recipe names embedded images, on the folder ``written_data``."""
        from deploy_prune.pipeline.task_choice import make_task

        return make_task(self.recipe, written_data)

    def importance(self) -> "Importance":
        """The criterion by which units are ranked."""
        from deploy_prune.importance.named import criterion_named

        return criterion_named(self.recipe.importance)

    def calibration(self, task: "Task") -> "Calibration | None":
        """The task's loss on training images; None where the recipe wants none of them."""
        from deploy_prune.importance.calibration import BATCH_ELEMENTS, Calibration

        n, size = self.recipe.search.calibration_images, self.recipe.data.image_size
        if not n:
            return None
        batches = task.calibration_batches(n, max(1, BATCH_ELEMENTS // (3 * size**2)))
        return Calibration(batches, task.loss, singles=task.calibration_batches(n, 1))

    def recovery_images(self, task: "Task") -> int:
        """Training images that recovery gets: what the recipe says, else as many as are usual and there are."""
        asked = self.recipe.recovery_images
        return min(asked, task.training_images()) if asked and self.recipe.recover.images is None else asked

    def facts(self) -> dict[str, object]:
        """What stages depend on, by name; a stage is redone when a fact that it reads has changed."""
        recipe = self.recipe
        return {
            "data": [recipe.task, _task_digest(recipe.task), recipe.data.model_dump(), _file_digest(recipe.data.path)],
            "model": [
                recipe.model,
                _file_digest(recipe.model),
                recipe.weights,
                _file_digest(recipe.weights),
                recipe.seed,
            ],
            "train": recipe.train.model_dump(),
            "device": device_facts(self.profile, self.machine) + self._ranges(),
            "others": [[one.model_dump(mode="json"), _installed_versions(one.engine)] for one in self.others],
            "budget": recipe.budget.model_dump(),
            "search": [recipe.importance, recipe.search.model_dump()],
            "sparse": recipe.sparse.model_dump(),
            "schedule": recipe.schedule.model_dump(),
            "recover": recipe.recovery_images,
            "finetune": recipe.finetune.model_dump(),
            "export": [recipe.name, recipe.export.model_dump(include={"parity_images"})],
            "formats": recipe.export.model_dump(exclude={"samples"}),
            "artifact": recipe.export.samples,
            "alternatives": recipe.alternatives,
        }

    def _ranges(self) -> list[object]:
        """What an INT8 profile's files depend on besides."""
        return [self.recipe.export.int8_images] if self.profile.file_precision == "int8" else []


def device_facts(profile: HardwareProfile, machine: Machine) -> list[object]:
    """What a measurement depends on besides the model: profile, machine and versions of the engine."""
    return [profile.model_dump(mode="json"), machine.fingerprint, _installed_versions(profile.engine)]


def _file_digest(name: str | None) -> str | None:
    """The sha256 of a file that the recipe names, None for a name that is no file (``yolov8n.yaml``) or a folder.

    The images of a folder are not read here, no more than those that a ``.yaml`` file speaks of.
    """
    if name is None:
        return None
    path = Path(name)
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except (FileNotFoundError, IsADirectoryError):
        return None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}; expected a file") from error


def _task_digest(task: str) -> str | None:
    """The sha256 of a task's own file (``my_task.py:MyTask``), None for a task of this package."""
    path, separator, _ = task.rpartition(":")
    return _file_digest(path) if separator else None


def _installed_versions(package: str) -> list[str]:
    """Versions of the distributions that bring a package; an engine comes in builds of several names."""
    names = importlib.metadata.packages_distributions().get(package, [])
    return sorted(importlib.metadata.version(name) for name in set(names))


def require_packages(needed: dict[str, tuple[str, str]]) -> None:
    """Refuse before hours are spent, not when the last stage comes."""
    for package, (purpose, extra) in needed.items():
        if importlib.util.find_spec(package) is None:
            raise MissingDependencyError(
                f"{package} is not installed, which the run needs for {purpose}; "
                f"run: pip install 'deploy_prune[{extra}]'"
            )
