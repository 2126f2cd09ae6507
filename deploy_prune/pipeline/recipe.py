"""The recipe of a run: a YAML file, validated whole before anything starts."""

import difflib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
import yaml

from deploy_prune.errors import InputError
from deploy_prune.mistakes import describe_mistakes

RECOVERY_IMAGES = 64
"""Training images for recovery where a recipe names no number: see docs/recovery.md."""


class _Section(pydantic.BaseModel):
    """Settings that cannot change after reading, take no unknown key, and turn no text into a number."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


TASKS = ("detect", "segment", "semantic", "classify", "pose", "obb")
_TASKS_OF = {
    "ultralytics": ("detect", "segment", "classify", "pose", "obb"),
    "torchvision": ("detect", "segment", "semantic", "classify"),
    "timm": ("classify",),
}


class DataRecipe(_Section):
    """The images: ``name: digits`` writes the embedded ones, ``path`` points at the user's own data set."""

    name: Literal["digits"] | None = None
    path: str | None = None
    train: int = pydantic.Field(default=1000, ge=1)  # images to write
    val: int = pydantic.Field(default=200, ge=1)
    image_size: int = pydantic.Field(default=160, ge=32)  # pixels, square
    difficulty: Literal["plain", "large", "easy", "medium", "hard"] = "easy"  # of embedded images for classification
    seed: int = 0

    @pydantic.model_validator(mode="after")
    def _one_source(self) -> "DataRecipe":
        if (self.name is None) == (self.path is None):
            raise ValueError("give exactly one of 'name' (embedded images) and 'path' (your own data set)")
        written = {"train", "val", "seed", "difficulty"} & self.model_fields_set
        if self.path is not None and written:
            raise ValueError(f"{', '.join(sorted(written))}: only for 'name'; your own data set has its sizes")
        return self


class TrainRecipe(_Section):
    """Training of the dense model; 0 epochs takes the model's weights as they are.

    What is None is as the task's own settings have it: ``deploy_prune.tasks.schedule`` for YOLO networks, else
    ``deploy_prune.tasks.fit_settings`` and, for pictures, ``deploy_prune.tasks.classification.Augmentation``. A
    setting that the task does not know is refused.
    """

    epochs: int = pydantic.Field(default=30, ge=0)
    batch: int | None = pydantic.Field(default=None, ge=1)
    lr0: float | None = pydantic.Field(default=None, gt=0)
    mosaic: float | None = pydantic.Field(default=None, ge=0, le=1)
    fliplr: float | None = pydantic.Field(default=None, ge=0, le=1)
    min_scale: float | None = pydantic.Field(default=None, gt=0, le=1)
    jitter: float | None = pydantic.Field(default=None, ge=0, lt=1)
    optimizer: str | None = None
    weight_decay: float | None = pydantic.Field(default=None, ge=0)
    warmup_epochs: float | None = pydantic.Field(default=None, ge=0)
    ema_decay: float | None = pydantic.Field(default=None, ge=0, lt=1)
    precision: str | None = None
    patience: int | None = pydantic.Field(default=None, ge=0)
    workers: int | None = pydantic.Field(default=None, ge=0)
    processes: int = pydantic.Field(default=1, ge=1)  # each with its share of a batch; one per GPU

    def changes(self) -> dict[str, Any]:
        """The schedule's settings that the recipe changes."""
        return self.model_dump(exclude={"epochs", "distil", "processes"}, exclude_none=True)


_Names = Annotated[tuple[str, ...], pydantic.Field(strict=False)]


class _LatencyBudget(_Section):
    speedup: float | None = pydantic.Field(default=None, gt=1)
    latency_ms: float | None = pydantic.Field(default=None, gt=0)

    @pydantic.model_validator(mode="after")
    def _one_budget(self) -> "_LatencyBudget":
        if (self.speedup is None) == (self.latency_ms is None):
            raise ValueError("give exactly one of 'speedup' and 'latency_ms' (null takes the other one away)")
        return self


class AlsoRecipe(_LatencyBudget):
    """A latency budget under a further profile, which the same pruned model keeps too."""

    profile: str  # name or path of a hardware profile


class BudgetRecipe(_LatencyBudget):
    """What the pruned model may take: a latency, or the dense model's divided by a speed-up; and further limits.

    They are those of ``deploy_prune.pipeline.limits.Limits``; what is not given is not limited.
    """

    max_macs: float | None = pydantic.Field(default=None, gt=0)
    max_mac_share: float | None = pydantic.Field(default=None, gt=0, le=1)  # of the dense model's
    max_params: float | None = pydantic.Field(default=None, gt=0)
    max_file_mib: float | None = pydantic.Field(default=None, gt=0)
    max_memory_mib: float | None = pydantic.Field(default=None, gt=0)
    min_width: float = pydantic.Field(default=0.0, ge=0, le=1)  # share of its units that each group keeps
    equal_widths: tuple[Annotated[tuple[str, ...], pydantic.Field(strict=False)], ...] = pydantic.Field(
        (), strict=False
    )
    also: tuple[AlsoRecipe, ...] = pydantic.Field((), strict=False)

    @pydantic.model_validator(mode="after")
    def _one_limit_of_macs(self) -> "BudgetRecipe":
        if self.max_macs is not None and self.max_mac_share is not None:
            raise ValueError("give at most one of 'max_macs' and 'max_mac_share'")
        return self

    def sizes(self) -> dict[str, Any]:
        """The further limits but those of latency, as keyword arguments of ``Limits``."""
        return self.model_dump(exclude={"speedup", "latency_ms", "also"})


class SearchRecipe(_Section):
    """What a width costs: the task's loss on this many training images; 0: the importance removed.

    With ``remove_branches`` whole residual branches may go, so that the network gets shallower.
    """

    calibration_images: int = pydantic.Field(default=16, ge=0)
    remove_branches: bool = False


class SparseRecipe(_Section):
    """Training between the dense model and the first plan that drives units towards zero; 0 epochs: none."""

    epochs: int = pydantic.Field(default=0, ge=0)
    kind: Literal["bn_scale", "group_norm", "growing"] = "group_norm"
    strength: float = pydantic.Field(default=1e-4, gt=0)  # weight of the penalty; of a growing one at its end


class ScheduleRecipe(_Section):
    """How the budget is approached: at once, or over milder ones with ``epochs`` of finetuning after each."""

    steps: int = pydantic.Field(default=1, ge=1, le=10)
    epochs: int = pydantic.Field(default=1, ge=0)


class RecoverRecipe(_Section):
    """Recovery without training, right after pruning, on some training images; a quarter of them judge it.

    Without a number it gets 64 of them, or all of the embedded ones where these are fewer.
    """

    enabled: bool = True
    images: int | None = pydantic.Field(default=None, ge=8)


class FinetuneRecipe(TrainRecipe):
    """Training of the pruned model; ``distil`` takes the dense model as teacher."""

    epochs: int = pydantic.Field(default=15, ge=0)
    distil: bool = False


class ExportRecipe(_Section):
    """The ONNX file and its check against the PyTorch module."""

    parity_images: int = pydantic.Field(default=8, ge=1)  # real training images on which the two are compared


class Recipe(_Section):
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
