"""The recipe of a run: a YAML file, validated whole before anything starts."""

import difflib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pydantic
import yaml

from deploy_prune.errors import InputError
from deploy_prune.mistakes import describe_mistakes
from deploy_prune.pipeline.recipe_sections import (
    BudgetRecipe,
    DataRecipe,
    ExportRecipe,
    FinetuneRecipe,
    RecoverRecipe,
    ScheduleRecipe,
    SearchRecipe,
    Section,
    SparseRecipe,
    TrainRecipe,
)

RECOVERY_IMAGES = 64
"""Training images for recovery where a recipe names no number: see docs/recovery.md."""


TASKS = ("detect", "segment", "semantic", "classify", "pose", "obb")
_TASKS_OF = {
    "ultralytics": ("detect", "segment", "classify", "pose", "obb"),
    "torchvision": ("detect", "segment", "semantic", "classify"),
    "timm": ("classify",),
}


class Recipe(Section):
    """Everything that decides what a run does; equal recipes on one machine give equal runs."""

    name: str = pydantic.Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")  # of the run's folder and its files
    task: str  # one of TASKS, or a class in a file: my_task.py:MyTask
    model: str  # yolov8n.yaml, a YOLO .pt, torchvision/NAME or timm/NAME; of your own task any word for it
    weights: str | None = None  # torchvision and timm: "pretrained" (the library's), or a .pt file that a run wrote
    data: DataRecipe
    train: TrainRecipe = TrainRecipe()
    budget: BudgetRecipe
    profile: str = "cpu-onnxruntime"  # name or path of a hardware profile
    importance: Literal["l1", "l2", "taylor", "fisher", "hessian"] = "l2"  # by which units rank within their group
    sparse: SparseRecipe = SparseRecipe()
    schedule: ScheduleRecipe = ScheduleRecipe()
    search: SearchRecipe = SearchRecipe()
    recover: RecoverRecipe = RecoverRecipe()
    finetune: FinetuneRecipe = FinetuneRecipe()
    export: ExportRecipe = ExportRecipe()
    alternatives: bool = False  # whether other answers than pruning are measured at the same budget
    seed: int = 0

    @property
    def stages_left_out(self) -> frozenset[str]:
        """The stages that this recipe does not ask for."""
        asked = {"sparse": self.sparse.epochs > 0, "prepare": self.schedule.steps > 1}
        return frozenset(stage for stage, wanted in asked.items() if not wanted)

    @property
    def recovery_images(self) -> int:
        """Training images that recovery gets; 0 where it is switched off."""
        if not self.recover.enabled:
            return 0
        written = self.data.train if self.data.name else RECOVERY_IMAGES
        return self.recover.images or min(RECOVERY_IMAGES, written)

    @pydantic.model_validator(mode="after")
    def _images_for_recovery(self) -> "Recipe":
        if self.data.name and self.recovery_images > self.data.train:
            raise ValueError(
                f"recover.images is {self.recovery_images} and data.train {self.data.train}; recovery cannot have more "
                "images than there are"
            )
        return self

    @property
    def library(self) -> Literal["ultralytics", "torchvision", "timm", "own"]:
        """Whose networks these are: by the model's prefix, or the user's own by the task's."""
        if ".py:" in self.task:
            return "own"
        library = self.model.partition("/")[0]
        return library if library in ("torchvision", "timm") else "ultralytics"  # type: ignore[return-value]

    @pydantic.field_validator("task")
    @classmethod
    def _known_task(cls, task: str) -> str:
        if task not in TASKS and ".py:" not in task:
            near = difflib.get_close_matches(task, TASKS, n=1)
            meant = f"did you mean {near[0]!r}? " if near else ""
            raise ValueError(f"unknown task {task!r}: {meant}expected {', '.join(TASKS)}, or my_task.py:MyTask")
        return task

    @pydantic.model_validator(mode="after")
    def _model_of_the_task(self) -> "Recipe":
        known = _TASKS_OF.get(self.library, (self.task,))
        if self.task not in known:
            raise ValueError(f"{self.model} is for {', '.join(known)}, and the task is {self.task}")
        if self.weights is not None and self.library not in ("torchvision", "timm"):
            raise ValueError("weights: only for models torchvision/NAME and timm/NAME; a YOLO .pt is given as model")
        if self.library == "ultralytics" and max(self.train.processes, self.finetune.processes) > 1:
            raise ValueError("processes: YOLO networks are trained by one process here; docs/ultralytics.md has more")
        return self

    @pydantic.model_validator(mode="after")
    def _data_for_gradients(self) -> "Recipe":
        if self.importance not in ("l1", "l2") and not self.search.calibration_images:
            raise ValueError(f"importance {self.importance} needs gradients: set search.calibration_images above 0")
        return self


def read_recipe(path: Path, changes: Mapping[str, object] | None = None) -> Recipe:
    """Read and validate a recipe.

    Args:
        path: the YAML file.
        changes: values that replace the file's, by key, dotted for those in sections (``train.epochs``).

    Raises:
        InputError: the file is missing or unreadable, or has mistakes; then all of them, one per line.
    """
    settings = _read_mapping(path)
    for key, value in (changes or {}).items():
        _change(settings, key, value)
    try:
        return Recipe.model_validate(settings)
    except pydantic.ValidationError as error:
        lines = [f"{path}: {mistake}" for mistake in describe_mistakes(error, Recipe)]
        raise InputError("\n".join(lines)) from None


def parse_overrides(overrides: Sequence[str]) -> dict[str, object]:
    """Turn ``key=value`` texts into changes for ``read_recipe``; the values are read as YAML.

    Raises:
        InputError: a text is not of this form.
    """
    changes: dict[str, object] = {}
    for override in overrides:
        key, separator, text = override.partition("=")
        if not separator or not key:
            raise InputError(f"override {override!r}: expected key=value, for example train.epochs=3")
        try:
            changes[key] = yaml.safe_load(text)
        except yaml.YAMLError:
            raise InputError(f"override {override!r}: {text!r} is not a YAML value") from None
    return changes


def write_recipe(recipe: Recipe, path: Path) -> None:
    """Write the recipe as a YAML file that ``read_recipe`` gives back equal."""
    settings = json.loads(recipe.model_dump_json(exclude_unset=True))
    path.write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")


def _read_mapping(path: Path) -> dict[str, Any]:
    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"recipe {path} does not exist; expected the path of a YAML file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"recipe {path} cannot be read: {error}") from None
    except yaml.YAMLError as error:
        raise InputError(f"recipe {path} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(settings, Mapping):
        raise InputError(f"recipe {path}: expected a mapping of keys, got {type(settings).__name__}")
    return dict(settings)


def _change(settings: dict[str, Any], key: str, value: object) -> None:
    *sections, last = key.split(".")
    for section in sections:
        inner = settings.setdefault(section, {})
        if not isinstance(inner, dict):
            raise InputError(f"cannot set {key}: {section!r} is {inner!r} in the recipe, not a section")
        settings = inner
    settings[last] = value
