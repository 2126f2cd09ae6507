"""The sections of a recipe, each validated by itself."""

from typing import Annotated, Any, Literal

import pydantic


class Section(pydantic.BaseModel):
    """Settings that cannot change after reading, take no unknown key, and turn no text into a number."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class DataRecipe(Section):
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


class TrainRecipe(Section):
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


class _LatencyBudget(Section):
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


class SearchRecipe(Section):
    """What a width costs: the task's loss on this many training images; 0: the importance removed.

    With ``remove_branches`` whole residual branches may go, so that the network gets shallower.
    """

    calibration_images: int = pydantic.Field(default=16, ge=0)
    remove_branches: bool = False


class SparseRecipe(Section):
    """Training between the dense model and the first plan that drives units towards zero; 0 epochs: none."""

    epochs: int = pydantic.Field(default=0, ge=0)
    kind: Literal["bn_scale", "group_norm", "growing"] = "group_norm"
    strength: float = pydantic.Field(default=1e-4, gt=0)  # weight of the penalty; of a growing one at its end


class ScheduleRecipe(Section):
    """How the budget is approached: at once, or over milder ones with ``epochs`` of finetuning after each."""

    steps: int = pydantic.Field(default=1, ge=1, le=10)
    epochs: int = pydantic.Field(default=1, ge=0)


class RecoverRecipe(Section):
    """Recovery without training, right after pruning, on some training images; a quarter of them judge it.

    Without a number it gets 64 of them, or all where there are fewer.
    """

    enabled: bool = True
    images: int | None = pydantic.Field(default=None, ge=8)


class FinetuneRecipe(TrainRecipe):
    """Training of the pruned model; ``distil`` takes the dense model as teacher.

    How it teaches is in ``deploy_prune.tasks.distillation``; YOLO networks have Ultralytics' own way.
    """

    epochs: int = pydantic.Field(default=15, ge=0)
    distil: bool = False
    temperature: float | None = pydantic.Field(default=None, gt=0)
    teacher_share: float | None = pydantic.Field(default=None, ge=0, le=1)
    attention: float | None = pydantic.Field(default=None, ge=0)


class ExportRecipe(Section):
    """What is delivered beside the pruned ONNX file in FP32, which is always written and checked, and the artifact.

    ``half`` and ``int8`` add files of these precisions, ``format`` those of further formats (docs/export.md).
    """

    parity_images: int = pydantic.Field(default=8, ge=1)  # real training images on which files and network are compared
    format: tuple[str, ...] = pydantic.Field(default=("onnx",), strict=False)  # a list, or words with commas
    samples: int = pydantic.Field(default=8, ge=0)  # validation pictures in the artifact; 0: none leave the house
    half: bool = False
    int8: bool = False
    int8_images: int = pydantic.Field(default=16, ge=1)  # training images by which ranges are found, at most
    dynamic: bool = False
    nms: bool = False
    simplify: bool = True

    @pydantic.field_validator("format", mode="before")
    @classmethod
    def _split(cls, names: object) -> object:
        return tuple(one.strip() for one in names.split(",")) if isinstance(names, str) else names

    @property
    def precisions(self) -> tuple[str, ...]:
        """All that are asked for."""
        asked = {"fp16": self.half, "int8": self.int8}
        return ("fp32", *(name for name, wanted in asked.items() if wanted))

    @property
    def asks_more(self) -> bool:
        """Whether more is wanted than the one ONNX file."""
        changed = {"format", "half", "int8", "dynamic", "nms", "simplify"}
        return any(getattr(self, name) != type(self).model_fields[name].default for name in changed)
