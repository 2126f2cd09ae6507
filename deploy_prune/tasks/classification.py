"""Classification of pictures by networks of torchvision and timm."""

import importlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from rich.progress import Progress
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from deploy_prune.artifact.usage import Label, Postprocessing, Preprocessing
from deploy_prune.datasets.image_folder import ImageFolder, check_pictures, list_image_folder
from deploy_prune.datasets.pixels import read_rgb
from deploy_prune.errors import InputError, MissingDependencyError
from deploy_prune.tasks.classifiers import Classifier, build_classifier, native_size
from deploy_prune.tasks.distillation import Distillation
from deploy_prune.tasks.fit_settings import FitSettings
from deploy_prune.tasks.predict import Predict
from deploy_prune.tasks.torch_task import TorchTask
from deploy_prune.tasks.usage import Usage, UsageSample, spread

PRETRAINED = "pretrained"
STEP = 32  # pixels; smaller inputs that are tried are multiples of it, which is the largest stride
PER_BATCH = 64  # pictures judged at once

TRAINING = FitSettings()
# Finetuned for 3 or 4 epochs at twice the speed, from what recovery left, two seeds each (recipes of pipelines/):
# ResNet-18 from 0.977 to 0.960 at 1e-3, 0.967 at 5e-4, 0.980 at 2e-4; MobileNetV2 from 0.923 to 0.949, 0.966, 0.951;
# ConvNeXt-Atto from 0.900 to 0.945, 0.937, 0.939. What is right already is lost at a high rate.
FINETUNING = replace(TRAINING, lr0=3e-4, warmup_epochs=0.5)
DISTILLATION = Distillation()


@dataclass(frozen=True)
class Augmentation:
    """Random changes of training pictures.

    Attributes:
        min_scale: a crop keeps at least this share of the picture's area, and is brought to the input's size.
        fliplr: probability of a left-right mirror; zero where things are not their own mirror image (digits).
        jitter: brightness, contrast and saturation change by a factor in 1 ± ``jitter``.
    """

    min_scale: float = 0.8
    fliplr: float = 0.0
    jitter: float = 0.2


class Pictures(Dataset[tuple[Tensor, int]]):
    """Pictures as tensors (3, S, S) in [0, 1] with the number of their class; random changes where there are any."""

    def __init__(
        self, found: tuple[tuple[Path, int], ...], size: int, augmentation: Augmentation | None = None
    ) -> None:
        self.found, self.change = found, _make_change(size, augmentation)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        path, label = self.found[index]
        picture = torch.from_numpy(read_rgb(path).copy()).permute(2, 0, 1)
        return self.change(picture), label

    def __len__(self) -> int:
        return len(self.found)


@dataclass(frozen=True)
class ClassificationTask(TorchTask):
    """A classifier and a folder of pictures (see ``datasets.image_folder``); methods as in ``tasks.task.Task``.

    Attributes:
        data: the folder.
        model: ``torchvision/NAME`` or ``timm/NAME``.
        weights: what the network begins with: None, random ones; ``pretrained``, its library's; else a ``.pt`` file
            that :meth:`save` wrote.
        image_size: height and width of the network's input in pixels; None: what the network was made for. The
            shorter side of a picture is brought to it and the middle taken.
        seed: of first weights, order of pictures and augmentation.
        training: settings for the dense network.
        finetuning: settings for the pruned one.
        augmentation: random changes of training pictures.
        distillation: how a teacher teaches.
    """

    data: Path
    model: str
    weights: str | None = None
    image_size: int | None = None
    seed: int = 0
    training: FitSettings = TRAINING
    finetuning: FitSettings = FINETUNING
    augmentation: Augmentation = Augmentation()
    distillation: Distillation = DISTILLATION
    name: str = field(default="classify", init=False)
    metric_name: str = field(default="top-1 accuracy", init=False)

    def network(self) -> nn.Module:
        """Return the network with the data's classes and the weights that it begins with."""
        if self.weights is not None and self.weights != PRETRAINED:
            return self.load(Path(self.weights))
        return build_classifier(self.model, self._found.classes, self._size, self.weights == PRETRAINED)

    def example_inputs(self) -> Tensor:
        """Return noise in [0, 1] of shape (1, 3, S, S), the same every time."""
        return torch.rand(1, 3, self._size, self._size, generator=torch.Generator().manual_seed(self.seed))

    def samples(self, split: str, augmented: bool) -> Pictures:
        """Return the pictures of a split."""
        found = self._found.train if split == "train" else self._found.val
        return Pictures(found, self._size, self.augmentation if augmented else None)

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        """Return the mean cross-entropy."""
        images, labels = batch
        return F.cross_entropy(model(images), labels)

    def distilled_loss(self, model: nn.Module, teacher: nn.Module, batch: Any) -> Tensor:
        """Return the cross-entropy mixed with the divergence from the teacher."""
        images, labels = batch
        logits = model(images)
        with torch.no_grad():
            taught = teacher(images)
        return self.distillation.mixed(F.cross_entropy(logits, labels), logits, taught)

    def score(self, predict: Predict) -> float:
        """Return the share of validation pictures whose largest logit is that of their class."""
        right, val = 0, self.samples("val", False)
        for images, labels in DataLoader(val, PER_BATCH, num_workers=self.training.workers):
            logits = predict(images)
            if logits.shape[1] != len(self._found.classes):
                raise InputError(f"the model has {logits.shape[1]} classes, the data {len(self._found.classes)}")
            right += int((logits.argmax(1) == labels).sum())
        return right / len(val)

    def usage(self, n: int) -> Usage:
        """Return how pictures become logits, and pictures of the validation data, spread over the classes."""
        pictures = self.samples("val", False)
        samples = tuple(
            UsageSample(inputs[None], pictures.found[i][0], Label(kind="class", class_number=label))
            for i in spread(len(pictures), n)
            for inputs, label in (pictures[i],)
        )
        preprocessing = Preprocessing(kind="crop", size=self._size)
        return Usage(self._found.classes, preprocessing, Postprocessing(kind="logits"), samples)

    def at_share(self, share: float) -> "ClassificationTask | None":
        """Return the task at the multiple of 32 pixels nearest to this share of the image size, if it is smaller."""
        size = max(round(share * self._size / STEP) * STEP, STEP)
        if size >= self._size:
            return None
        smaller = replace(self, image_size=size)
        try:
            with torch.no_grad():
                self.build()(smaller.example_inputs())
        except (RuntimeError, AssertionError):  # a transformer, made for one size
            return None
        return smaller

    def check_data(self, progress: Progress | None) -> None:
        """Decode every picture."""
        check_pictures(self._found, progress)

    def check_network(self, model: nn.Module, source: str) -> None:
        """Refuse a network of other classes."""
        own, wanted = tuple(getattr(model, "classes", ())), self._found.classes
        if not isinstance(model, Classifier):
            raise InputError(f"{source} is a {type(model).__name__}; expected a network that this task built or loaded")
        if own != wanted:
            raise InputError(
                f"{source} tells {len(own)} classes apart ({_words(own)}), and {self.data} has {len(wanted)} "
                f"({_words(wanted)}); expected the same names in the same order"
            )

    def about(self) -> Any:
        """Return what decides the training beside settings and weights."""
        names = [(path.relative_to(self.data).as_posix(), label) for path, label in self._found.train]
        return [names, self._size, asdict(self.augmentation)]

    @cached_property
    def _found(self) -> ImageFolder:
        return list_image_folder(self.data)

    @cached_property
    def _size(self) -> int:
        return native_size(self.model) if self.image_size is None else self.image_size


def _make_change(size: int, augmentation: Augmentation | None) -> Callable[[Tensor], Tensor]:
    """What brings a picture (3, H, W) of bytes to (3, S, S) in [0, 1]."""
    try:
        v2: Any = importlib.import_module("torchvision.transforms.v2")
    except ImportError as error:
        raise MissingDependencyError("torchvision is not installed; run: pip install 'deploy_prune[vision]'") from error
    steps = [v2.Resize(size, antialias=True), v2.CenterCrop(size)]
    if augmentation is not None:
        steps = [v2.RandomResizedCrop(size, (augmentation.min_scale, 1.0), antialias=True)]
        if augmentation.fliplr:
            steps.append(v2.RandomHorizontalFlip(augmentation.fliplr))
        if augmentation.jitter:
            steps.append(v2.ColorJitter(*3 * (augmentation.jitter,)))
    change: Callable[[Tensor], Tensor] = v2.Compose([*steps, v2.ToDtype(torch.float32, scale=True)])
    return change


def _words(names: tuple[str, ...]) -> str:
    return ", ".join(names if len(names) <= 10 else (*names[:9], "...", names[-1]))
