"""What sets one kind of dense prediction apart from another; ``tasks.dense.DenseTask`` is written on top of it."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from rich.progress import Progress
from torch import Tensor, nn
from torch.utils.data import Dataset

from deploy_prune.tasks.dense_data import Augmentation

Predict = Callable[[Tensor], tuple[Tensor, ...]]
"""Images (n, 3, S, S) to the tensors of a network's output, each (n, ...): a module's, or an exported file's."""


class Samples(Protocol):
    """A data set that has been looked through: names of classes, and the labelled pictures of each split."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names by class number."""

    @property
    def splits(self) -> dict[str, Any]:
        """Sequences of labelled pictures, by "train" and "val"."""


class Purpose(Protocol):
    """Networks, data, loss and score that belong together."""

    @property
    def name(self) -> str:
        """The task in one word."""

    @property
    def metric_name(self) -> str:
        """What :meth:`score` returns."""

    @property
    def families(self) -> tuple[tuple[str, ...], ...]:
        """torchvision's networks for it, each family largest first."""

    def read(self, folder: Path, progress: Progress | None) -> Samples:
        """Look through the data; InputError says what is wrong."""

    def dataset(self, samples: Sequence[Any], size: int, augmentation: Augmentation | None) -> Dataset[Any]:
        """Return pictures with labels as tensors."""

    def collate(self, samples: list[Any]) -> Any:
        """Return a batch, its images (n, 3, S, S) first."""

    def build(self, name: str, classes: int) -> nn.Module:
        """Return torchvision's network, untrained."""

    def wrap(self, network: nn.Module) -> nn.Module:
        """Return the module that is trained and exported; the network is its attribute ``network``."""

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        """Return the mean loss per image."""

    def distilled_loss(self, model: nn.Module, teacher: nn.Module, batch: Any) -> Tensor:
        """Return the loss with a share of the distance to the teacher; InputError where there is none such."""

    def score(self, predict: Predict, data: Dataset[Any], classes: int) -> float:
        """Return the score of what is predicted for the pictures of ``data``."""
