"""What torchvision's networks for segmentation and detection have in common as tasks."""

import difflib
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from deploy_prune.errors import InputError, MissingDependencyError
from deploy_prune.tasks.batches import seeded
from deploy_prune.tasks.dense_data import Augmentation
from deploy_prune.tasks.distillation import Distillation
from deploy_prune.tasks.fit_settings import FitSettings
from deploy_prune.tasks.torch_task import TorchTask

STEP = 32  # the image size is a multiple of it, which is the stride of the backbones
PREFIX = "torchvision/"
PRETRAINED = "pretrained"  # stands for torchvision's own weights

BATCH_NORM_MOMENTUM = 0.1

TRAINING = FitSettings(lr0=1e-3, weight_decay=0.01, batch=16)
FINETUNING = replace(TRAINING, lr0=5e-4)
AUGMENTATION = Augmentation()
DISTILLATION = Distillation(temperature=2.0)


@dataclass(frozen=True)
class DenseTask(TorchTask):
    """A network of torchvision and the user's pictures, squeezed into a square; methods as in ``tasks.task.Task``.

    Attributes:
        data: the folder.
        model: ``torchvision/NAME``.
        weights: what the network begins with: None, random ones; ``pretrained``, torchvision's; else a ``.pt`` file
            that :meth:`save` wrote.
        image_size: height and width of the network's input in pixels, a multiple of 32. Pictures are brought to it
            whatever their proportions.
        seed: of first weights, order of pictures and augmentation.
        training: settings for the dense network.
        finetuning: settings for the pruned one.
        augmentation: random changes of training pictures.
        distillation: how a teacher teaches, where the task has it.
        families: torchvision's networks for this task, each family largest first.
    """

    data: Path
    model: str
    weights: str | None = None
    image_size: int = 320
    seed: int = 0
    training: FitSettings = TRAINING
    finetuning: FitSettings = FINETUNING
    augmentation: Augmentation = AUGMENTATION
    distillation: Distillation = DISTILLATION
    families: ClassVar[tuple[tuple[str, ...], ...]] = ()

    def __post_init__(self) -> None:
        if self.image_size < STEP or self.image_size % STEP:
            raise InputError(f"image_size is {self.image_size}; it has to be a multiple of {STEP}, such as 160 or 320")
        known = dict.fromkeys(PREFIX + name for family in self.families for name in family)  # each once, in order
        if self.model not in known:
            near = difflib.get_close_matches(self.model, known, n=1)
            meant = f"did you mean {near[0]}? " if near else ""
            raise InputError(f"unknown model {self.model!r} for {self.name}: {meant}choose one of {', '.join(known)}")

    @property
    @abstractmethod
    def classes(self) -> tuple[str, ...]:
        """The names of the data's classes."""

    @abstractmethod
    def network_named(self, name: str) -> nn.Module:
        """Return one of torchvision's networks for the data's classes, untrained, with ``network`` and ``classes``."""

    def network(self) -> nn.Module:
        """Return the network with the data's classes and the weights that it begins with."""
        if self.weights not in (None, PRETRAINED):
            return self.load(Path(str(self.weights)))
        model = self._build(self.model.removeprefix(PREFIX))
        if self.weights == PRETRAINED:
            load_fitting(model.network, _download(self.model.removeprefix(PREFIX)))
        return model

    def example_inputs(self) -> Tensor:
        """Return noise in [0, 1] of shape (1, 3, S, S), the same every time."""
        generator = torch.Generator().manual_seed(self.seed)
        return torch.rand(1, 3, self.image_size, self.image_size, generator=generator)

    def at_share(self, share: float) -> "DenseTask | None":
        """Return the task at the multiple of 32 pixels nearest to this share of the image size, if it is smaller."""
        size = max(round(share * self.image_size / STEP) * STEP, STEP)
        if size >= self.image_size:
            return None
        smaller = replace(self, image_size=size)
        try:
            with torch.no_grad():
                self.build()(smaller.example_inputs())
        except (RuntimeError, ValueError):  # the last maps would be smaller than a pixel
            return None
        return smaller

    def smaller(self) -> dict[str, Callable[[], nn.Module]]:
        """Return the smaller networks of the architecture's family, each built untrained with the data's classes."""
        given = self.model.removeprefix(PREFIX)
        for family in self.families:
            if given in family:
                return {name: partial(self._build, name) for name in family[family.index(given) + 1 :]}
        return {}

    def check_network(self, model: nn.Module, source: str) -> None:
        """Refuse a network of other classes."""
        own, wanted = tuple(getattr(model, "classes", ())), self.classes
        if own != wanted:
            raise InputError(
                f"{source} tells {len(own)} classes apart ({_words(own)}), and {self.data} has {len(wanted)} "
                f"({_words(wanted)}); expected the same names in the same order"
            )

    def _build(self, name: str) -> Any:
        try:
            with seeded(self.seed):
                model = self.network_named(name).eval()
                _follow_faster(model)
        except ImportError as error:
            raise MissingDependencyError(
                "torchvision is not installed, which the task needs; run: pip install 'deploy_prune[vision]'"
            ) from error
        try:
            with torch.no_grad():
                model(self.example_inputs())
        except (RuntimeError, ValueError) as error:
            reason = str(error).strip().split("\n")[0]
            raise InputError(f"{name} cannot take images of {self.image_size} pixels ({reason}); use more") from error
        return model


def _follow_faster(model: nn.Module) -> None:
    """Let the statistics of batch norms follow at PyTorch's default rate.

    MobileNetV3 of torchvision has 0.01, made for its 600 epochs: after a hundred steps from random weights its eval
    mode would still see a third of the initial statistics, and score nothing.
    """
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum = BATCH_NORM_MOMENTUM


def load_fitting(network: nn.Module, weights: Mapping[str, Tensor]) -> list[str]:
    """Load, in place, those weights whose names and shapes are the network's; return the names of its others.

    The last layers of weights for other classes do not fit and stay as they are.
    """
    own = network.state_dict()
    fitting = {name: tensor for name, tensor in weights.items() if name in own and own[name].shape == tensor.shape}
    network.load_state_dict(fitting, strict=False)
    return [name for name in own if name not in fitting]


def _download(name: str) -> Mapping[str, Tensor]:
    """torchvision's best weights of a network, from its cache or the network."""
    import torchvision

    try:
        found: Mapping[str, Tensor] = torchvision.models.get_model_weights(name).DEFAULT.get_state_dict()
    except OSError as error:
        raise InputError(
            f"torchvision's weights of {name} cannot be downloaded ({error}); put the file into its cache, or take "
            "weights away"
        ) from error
    return found


def _words(names: Sequence[str]) -> str:
    return ", ".join(names if len(names) <= 10 else (*names[:9], "...", names[-1])) or "none are known"
