"""The one interface that the pipeline knows of a task; each adapter in this folder fills it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from rich.progress import Progress
from torch import Tensor, nn

from deploy_prune.tasks.usage import Usage


@dataclass(frozen=True)
class Metric:
    """A task's score on its validation data; ``value`` is a fraction, larger is better."""

    name: str
    value: float


class Regularizer(Protocol):
    """Adds to the gradients what drives units towards zero; its ``repr`` says all that a training depends on."""

    def attach(self, model: nn.Module) -> Callable[[float], None]:
        """Return what is called between backward and step, with the share of the training's epochs begun, up to 1."""


class Task(Protocol):
    """A network's purpose together with its data. Images are RGB, float32 in [0, 1], of shape (n, 3, H, W).

    No method changes the module it is given. Training may be killed at any moment: the same call with the
    same ``out_dir`` goes on where it stopped and ends with the same weights.
    """

    @property
    def name(self) -> str:
        """What is done, in one word: ``"detect"``."""

    @property
    def metric_name(self) -> str:
        """What :meth:`evaluate` measures: ``"mAP50-95"``."""

    def build(self) -> nn.Module:
        """Return the untrained network, the same one for the same seed."""

    def example_inputs(self) -> Tensor:
        """Return one input of shape (1, 3, H, W), as the tracer and the exporter need it."""

    def at_share(self, share: float) -> Task | None:
        """Return the task at an input of about this share of its side; None where there is no such smaller input."""

    def smaller(self) -> Mapping[str, Callable[[], nn.Module]]:
        """Return smaller networks of the family by name, largest first, each as a function that builds it untrained."""

    def kept_output(self, output: Any) -> Any:
        """Return the part of a raw output that must keep its shape; the rest may lose channels."""

    def train(self, model: nn.Module, out_dir: Path, *, epochs: int, progress: Progress | None = None) -> nn.Module:
        """Return ``model`` trained for ``epochs`` passes over the data; ``out_dir`` keeps the state."""

    def finetune(
        self,
        model: nn.Module,
        out_dir: Path,
        *,
        epochs: int,
        teacher: nn.Module | None = None,
        regularizer: Regularizer | None = None,
        progress: Progress | None = None,
    ) -> nn.Module:
        """Return a ``model`` retrained, no channel added; ``teacher`` is the dense network, if any."""

    def evaluate(self, model: nn.Module | Path) -> Metric:
        """Return the score of a module, or of an exported file, on the validation data."""

    def training_images(self) -> int:
        """Return how many training images there are."""

    def calibration_inputs(self, n: int) -> Tensor:
        """Return ``n`` training images of shape (n, 3, H, W), exactly as the network receives them."""

    def calibration_batches(self, n: int, size: int) -> Sequence[Any]:
        """Return the images of :meth:`calibration_inputs` and their labels, ``size`` to a batch."""

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        """Return the mean loss per image of such a batch; gradients flow through it, the module stays in its mode."""

    def export_onnx(
        self,
        model: nn.Module,
        path: Path,
        *,
        metadata: Mapping[str, str] | None = None,
        simplify: bool = True,
        dynamic: bool = False,
    ) -> Path:
        """Write ``model`` as one ONNX file of fixed shape (1, 3, H, W) and return its path.

        ``simplify=False`` saves time where the file is only measured: ONNX Runtime simplifies it to the same graph.
        With ``dynamic`` number and size of the images are left open, as the axes batch, height and width.
        """

    def usage(self, n: int) -> Usage:
        """Return how the file that :meth:`export_onnx` wrote is used, with up to ``n`` validation samples."""

    def save(self, model: nn.Module, path: Path) -> Path:
        """Write ``model``, structure and float32 weights, in the format that the task's own library loads."""

    def load(self, path: Path) -> nn.Module:
        """Return what :meth:`save` wrote."""
