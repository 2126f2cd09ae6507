"""torchvision's networks for semantic segmentation, detection and instance segmentation, as a task."""

import difflib
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.progress import Progress
from torch import Tensor, nn

from deploy_prune.errors import InputError, MissingDependencyError
from deploy_prune.export.onnx import export_onnx
from deploy_prune.tasks.batches import TrainingBatches, seeded
from deploy_prune.tasks.dense_data import Augmentation
from deploy_prune.tasks.fit import Fit
from deploy_prune.tasks.fit_settings import FitSettings
from deploy_prune.tasks.prediction import predictor_of
from deploy_prune.tasks.purpose import Predict, Purpose, Samples
from deploy_prune.tasks.purposes import PURPOSES, Unseen, read_once
from deploy_prune.tasks.resume import run_key
from deploy_prune.tasks.task import Metric

VALIDATE_EVERY = 5  # epochs between two looks at the validation data, for the person watching
STEP = 32  # the image size is a multiple of it: the largest stride, but for some detectors' last and smallest maps
_FORMAT = "deploy_prune.tasks.dense"

TRAINING = FitSettings(lr0=1e-3, weight_decay=0.01, warmup_epochs=1.0, batch=16, ema_decay=0.98)
FINETUNING = replace(TRAINING, lr0=5e-4)
AUGMENTATION = Augmentation()


@dataclass(frozen=True)
class DenseTask:
    """A network of torchvision and the user's data; methods as in ``tasks.task.Task``.

    Attributes:
        data: the folder; its layout is that of ``datasets.image_masks`` (semantic) or ``datasets.coco``.
        task: ``semantic``, ``detect`` or ``segment`` (instances).
        model: ``torchvision/NAME`` or weights, a ``.pt`` file that :meth:`save` wrote.
        image_size: height and width of the network's input in pixels, a multiple of 32. Pictures are brought to it
            whatever their proportions.
        seed: of first weights, order of images and augmentation.
        training: settings for the dense network.
        finetuning: settings for the pruned one.
        augmentation: random changes of training pictures.
    """

    data: Path
    task: str
    model: str
    image_size: int = 320
    seed: int = 0
    training: FitSettings = TRAINING
    finetuning: FitSettings = FINETUNING
    augmentation: Augmentation = AUGMENTATION

    def __post_init__(self) -> None:
        if self.task not in PURPOSES:
            raise InputError(f"unknown task {self.task!r} of torchvision; choose one of {', '.join(PURPOSES)}")
        if self.image_size < STEP or self.image_size % STEP:
            raise InputError(f"image_size is {self.image_size}; it has to be a multiple of {STEP}, such as 160 or 320")
        if not self.model.endswith(".pt"):
            self._check_name()

    @property
    def name(self) -> str:
        """The task in one word."""
        return self.task

    @property
    def metric_name(self) -> str:
        """What :meth:`evaluate` measures."""
        return self._purpose.metric_name

    def build(self) -> nn.Module:
        """Return the untrained network with the data's classes, or the network in the given ``.pt``."""
        if self.model.endswith(".pt"):
            return self.load(Path(self.model))
        return self._build(self.model.removeprefix("torchvision/"))

    def example_inputs(self) -> Tensor:
        """Return noise in [0, 1] of shape (1, 3, S, S), the same every time."""
        generator = torch.Generator().manual_seed(self.seed)
        return torch.rand(1, 3, self.image_size, self.image_size, generator=generator)

    def at_share(self, share: float) -> "DenseTask | None":
        """Return the task at the multiple of 32 pixels nearest to this share of the image size, if it is smaller."""
        size = max(round(share * self.image_size / STEP) * STEP, STEP)
        return replace(self, image_size=size) if size < self.image_size else None

    def smaller(self) -> dict[str, Callable[[], nn.Module]]:
        """Return the smaller networks of the architecture's family, each built untrained with the data's classes."""
        given = self._read_file(Path(self.model))["name"] if self.model.endswith(".pt") else self.model
        given = given.removeprefix("torchvision/")
        for family in self._purpose.families:
            if given in family:
                return {name: partial(self._build, name) for name in family[family.index(given) + 1 :]}
        return {}

    def kept_output(self, output: Any) -> Any:
        """Return the output as it is: every part of it has a meaning by its shape."""
        return output

    def train(self, model: nn.Module, out_dir: Path, *, epochs: int, progress: Progress | None = None) -> nn.Module:
        """Return a trained copy of ``model``: the average of its weights over the last steps."""
        return self._fit(model, out_dir, epochs, self.training, None, progress)

    def finetune(
        self,
        model: nn.Module,
        out_dir: Path,
        *,
        epochs: int,
        teacher: nn.Module | None = None,
        progress: Progress | None = None,
    ) -> nn.Module:
        """Return a retrained copy of a pruned ``model``; its output is drawn to ``teacher``'s, if any."""
        return self._fit(model, out_dir, epochs, self.finetuning, teacher, progress)

    def evaluate(self, model: nn.Module | Path) -> Metric:
        """Return the score on the validation data of a module, or of an ``.onnx`` file in ONNX Runtime."""
        if isinstance(model, Path) and not model.is_file():
            raise InputError(f"no such file: {model}; expected an exported .onnx")
        return Metric(self.metric_name, self._score(predictor_of(model)))

    def calibration_inputs(self, n: int) -> Tensor:
        """Return ``n`` training images, spread evenly over the set, of shape (n, 3, S, S)."""
        images: Tensor = self.calibration_batches(n, n)[0][0]
        return images

    def calibration_batches(self, n: int, size: int) -> list[Any]:
        """Return the images of :meth:`calibration_inputs` with their labels, ``size`` to a batch."""
        train = self._samples().splits["train"]
        if n > len(train):
            raise InputError(f"{n} images are wanted for calibration, but {self.data} has {len(train)} to train on")
        data: Any = self._purpose.dataset([train[i * len(train) // n] for i in range(n)], self.image_size, None)
        return [
            self._purpose.collate([data[i] for i in range(start, min(start + size, n))]) for start in range(0, n, size)
        ]

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        """Return the mean training loss per image."""
        return self._purpose.loss(model, batch)

    def export_onnx(
        self, model: nn.Module, path: Path, *, metadata: Mapping[str, str] | None = None, simplify: bool = True
    ) -> Path:
        """Write ``model``: pictures in [0, 1] to logits per pixel, or to boxes and scores before suppression."""
        return export_onnx(model, self.example_inputs(), path, metadata=metadata)

    def save(self, model: nn.Module, path: Path) -> Path:
        """Write torchvision's own module: ``torch.load(path, weights_only=False)["network"]`` needs no other package."""
        content = {
            "format": _FORMAT,
            "task": self.task,
            "name": self.model.removeprefix("torchvision/"),
            "classes": self._samples().classes,
            "network": model.network,
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.tmp")
        torch.save(content, temporary)
        return temporary.replace(path)

    def load(self, path: Path) -> nn.Module:
        """Return the network in a ``.pt`` file, pruned or not, in eval mode. Open only files that you trust.

        Raises:
            InputError: the file is missing, damaged, of another task, or has other classes than the data.
        """
        content, classes = self._read_file(path), self._samples().classes
        if content["classes"] != classes:
            raise InputError(
                f"{path} was trained for {len(content['classes'])} classes ({', '.join(content['classes'])}), and "
                f"{self.data} has {len(classes)} ({', '.join(classes)}); expected the same, in the same order"
            )
        return self._purpose.wrap(content["network"]).eval()

    @property
    def _purpose(self) -> Purpose:
        return PURPOSES[self.task]

    def _check_name(self) -> None:
        known = [f"torchvision/{name}" for family in self._purpose.families for name in family]
        if self.model not in known:
            near = difflib.get_close_matches(self.model, known, n=1)
            meant = f"did you mean {near[0]}? " if near else ""
            raise InputError(f"unknown model {self.model!r} for {self.task}: {meant}choose one of {', '.join(known)}")

    def _samples(self, progress: Progress | None = None) -> Samples:
        return read_once(self.task, self.data.resolve(), Unseen(progress))

    def _build(self, name: str) -> nn.Module:
        classes = self._samples().classes
        try:
            with seeded(self.seed):
                model = self._purpose.wrap(self._purpose.build(name, len(classes))).eval()
        except ImportError as error:
            raise MissingDependencyError("it needs torchvision; run: pip install 'deploy_prune[vision]'") from error
        try:
            with torch.no_grad():
                model(self.example_inputs())
        except RuntimeError as error:
            reason = str(error).strip().split("\n")[0]
            raise InputError(f"{name} cannot take images of {self.image_size} pixels: {reason}; use more") from error
        return model

    def _score(self, predict: Predict) -> float:
        samples = self._samples()
        data = self._purpose.dataset(samples.splits["val"], self.image_size, None)
        return self._purpose.score(predict, data, len(samples.classes))

    def _fit(
        self,
        model: nn.Module,
        out_dir: Path,
        epochs: int,
        settings: FitSettings,
        teacher: nn.Module | None,
        progress: Progress | None,
    ) -> nn.Module:
        train, purpose = self._samples(progress).splits["train"], self._purpose
        data = purpose.dataset(train, self.image_size, self.augmentation)
        loss = purpose.loss if teacher is None else partial(_distilled, purpose, deepcopy(teacher).eval())
        fit = Fit(
            TrainingBatches(data, settings.batch, self.seed, purpose.collate, settings.workers),
            loss,
            lambda module: self._score(predictor_of(module)),
            settings,
            epochs,
            title=f"train {Path(self.model).stem}",
            score_name=self.metric_name,
            evaluate_every=VALIDATE_EVERY,
            about=[self.task, str(self.data), self.image_size, asdict(self.augmentation), run_key({}, teacher)],
        )
        return fit.run(model, out_dir, progress)

    def _read_file(self, path: Path) -> dict[str, Any]:
        try:
            content = torch.load(path, map_location="cpu", weights_only=False)
        except FileNotFoundError:
            raise InputError(f"no such file: {path}; expected weights of torchvision's networks") from None
        except Exception as error:  # damaged archives and pickles fail in many ways
            raise InputError(f"{path} cannot be read ({error}); expected a .pt file that a run wrote") from error
        if not isinstance(content, dict) or content.get("format") != _FORMAT or content["task"] != self.task:
            raise InputError(f"{path} holds no network for {self.task}; expected a .pt file that such a run wrote")
        return content


def _distilled(purpose: Purpose, teacher: nn.Module, model: nn.Module, batch: Any) -> Tensor:
    return purpose.distilled_loss(model, teacher.to(batch[0].device), batch)
