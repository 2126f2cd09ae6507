"""What benchmarks/accuracy.py compares on: networks, embedded data at several difficulties, and how long they learn."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from deploy_prune.datasets.formats import FORMATS
from deploy_prune.datasets.write import write_digits
from deploy_prune.tasks import classification, dense
from deploy_prune.tasks.classification import ClassificationTask
from deploy_prune.tasks.semantic import SemanticTask
from deploy_prune.tasks.task import Task
from deploy_prune.tasks.ultralytics import UltralyticsTask


@dataclass(frozen=True)
class Case:
    """A network on one kind of pictures.

    Attributes:
        name: of its row in the table.
        make: the task on written data, by their path and a seed.
        data: format of the embedded pictures.
        train: training pictures.
        val: pictures that judge.
        size: their side in pixels.
        epochs: of the dense network.
        finetuning: epochs of every pruned one.
        peer: whether Torch-Pruning prunes it: as it is (``plain``), with its replacement for C2f, or not at all.
    """

    name: str
    make: Callable[[Path, int], Task]
    data: str
    train: int
    val: int
    size: int
    epochs: int
    finetuning: int
    peer: str = "plain"

    def task(self, folder: Path, seed: int) -> Task:
        """The task; its pictures are written first, the same for every seed."""
        target = folder / f"{self.data}-{self.train}-{self.val}-{self.size}"
        if not target.exists():
            write_digits(self.data, target, train=self.train, val=self.val, image_size=self.size, seed=0)
        return self.make(target / FORMATS[self.data].entry, seed)


def _classifier(model: str, data: str, size: int, train: int, epochs: int, finetuning: int, **training: object) -> Case:
    def make(path: Path, seed: int) -> Task:
        return ClassificationTask(
            data=path,
            model=model,
            image_size=size,
            seed=seed,
            training=dataclasses.replace(classification.TRAINING, **training),  # type: ignore[arg-type]
            finetuning=dataclasses.replace(classification.FINETUNING, **training),  # type: ignore[arg-type]
        )

    short = "plain" if data == "digits" else data.removeprefix("classify-")
    val = 359 if data == "digits" else 500  # plain digits there are no more of
    return Case(f"{model.partition('/')[2]}, {short}", make, data, train, val, size, epochs, finetuning)


def _yolo(model: str, peer: str) -> Case:
    def make(path: Path, seed: int) -> Task:
        return UltralyticsTask(data=path, task="detect", model=f"{model}.yaml", image_size=160, seed=seed)

    return Case(f"{model}, scenes", make, "detect", 800, 200, 160, 12, 3, peer)


def _deeplab() -> Case:
    def make(path: Path, seed: int) -> Task:
        training = dataclasses.replace(dense.TRAINING, batch=16)
        model = "torchvision/deeplabv3_mobilenet_v3_large"
        return SemanticTask(data=path, model=model, image_size=128, seed=seed, training=training)

    return Case("deeplabv3_mobilenet_v3_large, scenes", make, "semantic", 800, 200, 128, 16, 4)


CASES = {
    case.name: case
    for case in (
        _classifier("torchvision/resnet18", "digits", 32, 1200, 6, 2),
        _classifier("torchvision/resnet18", "classify-large", 64, 3000, 8, 2),
        _classifier("torchvision/mobilenet_v2", "digits", 32, 1200, 12, 4),
        _classifier("torchvision/mobilenet_v2", "classify-large", 64, 3000, 12, 3),
        _classifier("timm/convnext_atto", "digits", 32, 1200, 12, 4),
        _classifier("timm/convnext_atto", "classify-large", 64, 3000, 12, 3),
        _yolo("yolov8n", "C2f"),
        _yolo("yolo11n", "none"),
        _deeplab(),
    )
}
