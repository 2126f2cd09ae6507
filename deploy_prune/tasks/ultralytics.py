"""YOLO networks, trained and judged by Ultralytics (an optional package under AGPL-3.0)."""

import tempfile
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.progress import Progress
from torch import Tensor, nn

from deploy_prune.errors import InputError
from deploy_prune.export.onnx import set_metadata
from deploy_prune.export.running import READABLE
from deploy_prune.tasks import ultralytics_api as api
from deploy_prune.tasks.epoch_bar import EpochBar
from deploy_prune.tasks.file_network import FileNetwork
from deploy_prune.tasks.kept_module import check_trainable, refuse_rebuild
from deploy_prune.tasks.resume import TrainingState, run_key
from deploy_prune.tasks.schedule import FINETUNING, TRAINING, Schedule
from deploy_prune.tasks.task import Metric, Regularizer
from deploy_prune.tasks.ultralytics_data import open_data, training_batches
from deploy_prune.tasks.ultralytics_faults import check_data
from deploy_prune.tasks.ultralytics_kinds import find_kind
from deploy_prune.tasks.ultralytics_run import TrainingRun
from deploy_prune.tasks.ultralytics_trainers import pruned_trainer
from deploy_prune.tasks.ultralytics_usage import describe_usage
from deploy_prune.tasks.usage import Usage

__all__ = ["UltralyticsTask", "pruned_trainer"]


@dataclass(frozen=True)
class UltralyticsTask:
    """A YOLO network and a data set in Ultralytics' format; methods as in ``tasks.task.Task``.

    Attributes:
        data: the data set's ``.yaml`` file; for ``classify`` the folder with ``train/CLASS/`` and ``val/CLASS/``.
        task: ``detect``, ``segment``, ``classify``, ``pose`` or ``obb``.
        model: architecture (``yolov8n.yaml``) or weights (a ``.pt`` file with the data's classes).
        image_size: height and width of the network's input in pixels, a multiple of 32.
        seed: of first weights, order of images and augmentation.
        training: settings for the dense network.
        finetuning: settings for the pruned one.
    """

    data: Path
    task: str = "detect"
    model: str = "yolov8n.yaml"
    image_size: int = 640
    seed: int = 0
    training: Schedule = TRAINING
    finetuning: Schedule = FINETUNING

    def __post_init__(self) -> None:
        find_kind(self.task)
        if self.image_size < 32 or self.image_size % 32:
            raise InputError(f"image_size is {self.image_size}; it has to be a multiple of 32, such as 160 or 640")

    @property
    def name(self) -> str:
        """The task in one word."""
        return self.task

    @property
    def metric_name(self) -> str:
        """What :meth:`evaluate` measures."""
        return find_kind(self.task).score_name

    def build(self) -> nn.Module:
        """Return the untrained network with the data's classes, or the network in the given ``.pt``."""
        if self.model.endswith(".pt"):
            return self.load(Path(self.model))
        return self._build(self.model, open_data(self.task, self.data))

    def example_inputs(self) -> Tensor:
        """Return noise in [0, 1] of shape (1, 3, H, W), the same every time."""
        generator = torch.Generator().manual_seed(self.seed)
        return torch.rand(1, 3, self.image_size, self.image_size, generator=generator)

    def at_share(self, share: float) -> "UltralyticsTask | None":
        """Return the task at the multiple of 32 pixels nearest to this share of the image size, if it is smaller."""
        size = max(round(share * self.image_size / 32) * 32, 32)
        return replace(self, image_size=size) if size < self.image_size else None

    def smaller(self) -> dict[str, Callable[[], nn.Module]]:
        """Return the architecture's smaller scales (YOLOv8s: YOLOv8n), each built untrained with the data's classes."""
        data = open_data(self.task, self.data)
        given: Any = self.load(Path(self.model)).yaml if self.model.endswith(".pt") else self.model
        return {name: partial(self._build, name, data) for name in api.smaller_scales(given)}

    def kept_output(self, output: Any) -> Any:
        """Return the raw predictions of a head, without the feature maps that it passes on for their size alone.

        In eval mode a head returns its decoded boxes and a dict of raw predictions, in train mode the dict; that of
        classification has neither boxes nor such maps.
        """
        if isinstance(output, dict):
            return {key: value for key, value in output.items() if key != "feats"}
        return [self.kept_output(part) for part in output] if isinstance(output, (tuple, list)) else output

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
        regularizer: Regularizer | None = None,
        progress: Progress | None = None,
    ) -> nn.Module:
        """Return a retrained copy of ``model``, drawn to ``teacher``'s features, if there is one.

        In classification it is the outputs that are drawn to the teacher's.
        """
        return self._fit(model, out_dir, epochs, self.finetuning, teacher, progress, regularizer)

    def evaluate(self, model: nn.Module | Path) -> Metric:
        """Return the score on the validation data of a module, or of an exported file on the CPU."""
        if isinstance(model, Path) and not model.is_file():
            raise InputError(f"no such file: {model}; expected an exported {', '.join(READABLE)}")
        data = open_data(self.task, self.data)
        if isinstance(model, Path) and model.suffix != ".onnx":  # which Ultralytics opens as it is
            about = {"names": data["names"], "task": self.task, "kpt_shape": data.get("kpt_shape")}
            model = FileNetwork(model, {name: value for name, value in about.items() if value is not None})
        arguments = self._arguments(Path()) | {"batch": 32, "rect": False, "cache": False}
        return Metric(self.metric_name, api.validate(self.task, model, arguments))

    def training_images(self) -> int:
        """Return how many training images Ultralytics finds."""
        return len(api.labelled_images(self.task, open_data(self.task, self.data), self.image_size))

    def calibration_inputs(self, n: int) -> Tensor:
        """Return ``n`` training images, spread evenly over the set, of shape (n, 3, H, W).

        The first of a run's stages asks for them: so this looks for faults in the whole data set, too.
        """
        check_data(self.task, open_data(self.task, self.data), self.data)
        images: Tensor = self.calibration_batches(n, n)[0]["img"]
        return images

    def calibration_batches(self, n: int, size: int) -> list[dict[str, Any]]:
        """Return the images of :meth:`calibration_inputs` with their labels, ``size`` to a batch."""
        return training_batches(self.task, self.data, self.image_size, n, size)

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        """Return the mean training loss per image, all its parts (boxes, classes, masks ...) together."""
        return api.training_loss(model, batch)

    def export_onnx(
        self,
        model: nn.Module,
        path: Path,
        *,
        metadata: Mapping[str, str] | None = None,
        simplify: bool = True,
        dynamic: bool = False,
    ) -> Path:
        """Write ``model`` by Ultralytics' exporter: batch norms folded, outputs decoded, no NMS.

        The file holds ``metadata`` beside what Ultralytics' loader needs. Same module, same bytes.
        """
        import onnx

        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
            raw = api.export_file(model, self.image_size, Path(folder), simplify, dynamic)
            exported = onnx.load(raw)
            own = {"description": f"YOLO {self.task} network exported by deploy_prune", "date": ""}
            set_metadata(exported, own | dict(metadata or {}))
            onnx.save(exported, raw)
            return raw.replace(path)

    def usage(self, n: int) -> Usage:
        """Return how the file is used, with up to ``n`` validation images."""
        return describe_usage(self.task, self.data, self.image_size, n)

    def save(self, model: nn.Module, path: Path) -> Path:
        """Write ``model`` as ``ultralytics.YOLO(path)`` loads it, in float32 (YOLO.save rounds to FP16).

        A network that its ``yaml`` no longer describes is marked by :func:`refuse_rebuild`.
        """
        kept: Any = deepcopy(model).eval()
        kept.criterion = None
        kept.__dict__.pop("pt_path", None)
        if not api.is_rebuildable(kept):
            refuse_rebuild(kept)
        checkpoint = {
            "model": kept,
            "ema": None,
            "epoch": -1,
            "optimizer": None,
            "train_args": {"task": getattr(kept, "task", self.task), "imgsz": self.image_size, "data": str(self.data)},
            "version": api.version(),
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.tmp")
        torch.save(checkpoint, temporary)
        return temporary.replace(path)

    def load(self, path: Path) -> nn.Module:
        """Return the network in a ``.pt`` file, pruned or not, in float32 and eval mode.

        Raises:
            InputError: the file is missing, damaged, no YOLO network, or one of another task, or of other classes
                or keypoints than the data.
        """
        model = api.load_network(path)
        self._check(model, open_data(self.task, self.data))
        return model

    def _fit(
        self,
        model: nn.Module,
        out_dir: Path,
        epochs: int,
        schedule: Schedule,
        teacher: nn.Module | None,
        progress: Progress | None,
        regularizer: Regularizer | None = None,
    ) -> nn.Module:
        data = open_data(self.task, self.data)
        self._check(model, data)
        out_dir.mkdir(parents=True, exist_ok=True)
        arguments = self._arguments(out_dir) | {"epochs": epochs}
        about = self.data.read_text() if self.data.is_file() else data["names"]
        settings = arguments | asdict(schedule) | {"data": about, "project": None, "regularizer": repr(regularizer)}
        state = TrainingState(out_dir / "training_state.pt", run_key(settings, model, teacher), self.seed)
        if not state.is_done(epochs):
            check_data(self.task, data, self.data, progress)
            arguments |= schedule.arguments()
            if teacher is not None and self.task != "classify":
                arguments["distill_model"] = str(self.save(teacher, out_dir / "teacher.pt"))
            bar = EpochBar(progress, f"train {Path(self.model).stem}", epochs)
            outputs_of = teacher if self.task == "classify" else None
            TrainingRun(self.task, arguments, schedule, state, bar, outputs_of, regularizer).train(deepcopy(model))
        return self._describe(state.result(model), data)

    def _build(self, config: str, data: Mapping[str, Any]) -> nn.Module:
        network = api.build_network(self.task, config, data["nc"], self.seed, keypoints=self._keypoints(data))
        return self._describe(network, data)

    def _keypoints(self, data: Mapping[str, Any]) -> tuple[int, int] | None:
        return tuple(data["kpt_shape"]) if self.task == "pose" else None

    def _check(self, model: nn.Module, data: Mapping[str, Any]) -> None:
        """Raise InputError unless ``model`` is a network for this task and data."""
        if (own := getattr(model, "task", self.task)) != self.task:
            raise InputError(f"this is a network to {own}, the task is to {self.task}; use matching ones")
        check_trainable(model, classes=data["nc"], data=self.data, keypoints=self._keypoints(data))

    def _describe(self, model: Any, data: Mapping[str, Any]) -> nn.Module:
        """Attach what Ultralytics expects to find on a network: its task, class names and arguments."""
        model.task, model.names, model.nc = self.task, data["names"], data["nc"]
        if self.task == "pose":  # the loss and the exporter ask for these
            numbers = [str(point) for point in range(data["kpt_shape"][0])]
            model.kpt_names = data.get("kpt_names") or dict.fromkeys(range(data["nc"]), numbers)
            model.kpt_oks_sigmas = data.get("kpt_oks_sigmas")
        model.args = {"task": self.task, "imgsz": self.image_size, "data": str(self.data)}
        return model

    def _arguments(self, folder: Path) -> dict[str, Any]:
        """Return the arguments that every run has; ``folder`` is made absolute, or it went under runs/."""
        return {
            "task": self.task,
            "model": self.model,
            "data": str(self.data),
            "imgsz": self.image_size,
            "seed": self.seed,
            "project": str(folder.resolve()),
            "name": "ultralytics",
            "exist_ok": True,
            "device": api.device(),
            "workers": 0,
            "cache": "ram",  # so that mosaic draws from all images, not from a buffer that a kill empties
            "amp": False,
            "patience": 0,
            "plots": False,
            "save": False,
            "verbose": False,
        }
