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
from deploy_prune.tasks import ultralytics_api as api
from deploy_prune.tasks.epoch_bar import EpochBar
from deploy_prune.tasks.kept_module import KeptModule, check_trainable, refuse_rebuild
from deploy_prune.tasks.resume import KeepsToItself, TrainingState, run_key
from deploy_prune.tasks.schedule import FINETUNING, TRAINING, Schedule
from deploy_prune.tasks.task import Metric

VALIDATE_EVERY = 5  # epochs between two looks at the validation data, for the person watching


def pruned_trainer(task: str) -> type:
    """Return the trainer class that keeps a pruned network: ``YOLO("pruned.pt").train(trainer=…)``.

    The class is importable from this module (``PrunedDetectionTrainer``), so that it can be pickled. When
    training ends it has proved that no channel came back.
    """
    name = f"Pruned{api.find_kind(task).prefix}Trainer"
    return globals().get(name) or __getattr__(name)


def __getattr__(name: str) -> type:
    """Make a trainer class when it is first asked for: importing this file does not import Ultralytics."""
    for task, kind in api.KINDS.items():
        if name == f"Pruned{kind.prefix}Trainer":
            bases = (KeptModule, api.find_class(task, "Trainer"))
            globals()[name] = type(name, bases, {"__module__": __name__, "__doc__": KeptModule.__doc__})
            return globals()[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@dataclass(frozen=True)
class UltralyticsTask:
    """A YOLO network and a data set in Ultralytics' format, on the CPU; methods as in ``tasks.task.Task``.

    Attributes:
        data: the data set's ``.yaml`` file.
        task: ``detect`` or ``segment``.
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
        api.find_kind(self.task)
        if self.image_size < 32 or self.image_size % 32:
            raise InputError(f"image_size is {self.image_size}; it has to be a multiple of 32, such as 160 or 640")

    @property
    def name(self) -> str:
        """The task in one word."""
        return self.task

    @property
    def metric_name(self) -> str:
        """What :meth:`evaluate` measures."""
        return api.find_kind(self.task).score_name

    def build(self) -> nn.Module:
        """Return the untrained network with the data's classes, or the network in the given ``.pt``."""
        if self.model.endswith(".pt"):
            return self.load(Path(self.model))
        data = api.read_data(self.data)
        return self._describe(api.build_network(self.task, self.model, data["nc"], self.seed), data)

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
        data = api.read_data(self.data)
        given: Any = self.load(Path(self.model)).yaml if self.model.endswith(".pt") else self.model

        def build(name: str) -> nn.Module:
            return self._describe(api.build_network(self.task, name, data["nc"], self.seed), data)

        return {name: partial(build, name) for name in api.smaller_scales(given)}

    def kept_output(self, output: Any) -> Any:
        """Return the raw predictions of a head, without the feature maps that it passes on for their size alone.

        In eval mode a head returns its decoded boxes and a dict of raw predictions, in train mode the dict.
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
        progress: Progress | None = None,
    ) -> nn.Module:
        """Return a retrained copy of a pruned ``model``; its features are drawn to ``teacher``'s, if any."""
        return self._fit(model, out_dir, epochs, self.finetuning, teacher, progress)

    def evaluate(self, model: nn.Module | Path) -> Metric:
        """Return the score on the validation data of a module, or of an ``.onnx`` file in ONNX Runtime."""
        if isinstance(model, Path) and not model.is_file():
            raise InputError(f"no such file: {model}; expected an exported .onnx")
        api.read_data(self.data)
        arguments = self._arguments(Path()) | {"batch": 32, "rect": False, "cache": False}
        return Metric(self.metric_name, api.validate(self.task, model, arguments))

    def calibration_inputs(self, n: int) -> Tensor:
        """Return ``n`` training images, spread evenly over the set, of shape (n, 3, H, W)."""
        images: Tensor = self.calibration_batches(n, n)[0]["img"]
        return images

    def calibration_batches(self, n: int, size: int) -> list[dict[str, Any]]:
        """Return the images of :meth:`calibration_inputs` with their labels, ``size`` to a batch."""
        return api.training_batches(self.task, self.data, self.image_size, n, size)

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        """Return the mean training loss per image, boxes, classes (and masks) together."""
        return api.training_loss(model, batch)

    def export_onnx(
        self, model: nn.Module, path: Path, *, metadata: Mapping[str, str] | None = None, simplify: bool = True
    ) -> Path:
        """Write ``model`` by Ultralytics' exporter: batch norms folded, boxes decoded, no NMS.

        The file holds ``metadata`` beside what Ultralytics' loader needs. Same module, same bytes.
        """
        import onnx

        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
            raw = api.export_file(model, self.image_size, Path(folder), simplify)
            exported = onnx.load(raw)
            own = {"description": f"YOLO {self.task} network exported by deploy_prune", "date": ""}
            set_metadata(exported, own | dict(metadata or {}))
            onnx.save(exported, raw)
            return raw.replace(path)

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
            InputError: the file is missing, damaged, no YOLO network, or has other classes than the data.
        """
        model = api.load_network(path)
        check_trainable(model, classes=api.read_data(self.data)["nc"], data=self.data)
        return model

    def _fit(
        self,
        model: nn.Module,
        out_dir: Path,
        epochs: int,
        schedule: Schedule,
        teacher: nn.Module | None,
        progress: Progress | None,
    ) -> nn.Module:
        data = api.read_data(self.data)
        check_trainable(model, classes=data["nc"], data=self.data)
        out_dir.mkdir(parents=True, exist_ok=True)
        arguments = self._arguments(out_dir) | {"epochs": epochs}
        settings = arguments | asdict(schedule) | {"data": self.data.read_text(), "project": None}
        state = TrainingState(out_dir / "training_state.pt", run_key(settings, model, teacher), self.seed)
        if not state.is_done(epochs):
            arguments |= schedule.arguments()
            if teacher is not None:
                arguments["distill_model"] = str(self.save(teacher, out_dir / "teacher.pt"))
            bar = EpochBar(progress, f"train {Path(self.model).stem}", epochs)
            self._run(deepcopy(model), arguments, state, schedule, bar)
        return self._describe(state.result(model), data)

    def _run(
        self,
        model: nn.Module,
        arguments: dict[str, Any],
        state: TrainingState,
        schedule: Schedule,
        bar: EpochBar,
    ) -> None:
        kind = api.find_kind(self.task)

        def start(trainer: Any) -> None:
            trainer.ema.decay = schedule.ema_decay
            state.restore(trainer)
            bar.show(trainer.start_epoch)

        def end_training(trainer: Any) -> None:
            trainer.args.val = (trainer.epoch + 1) % VALIDATE_EVERY == 0

        def end_epoch(trainer: Any) -> None:
            state.write(trainer)
            bar.show(trainer.epoch + 1, f"{kind.score_name} {trainer.metrics[kind.score_key]:.3f}")

        run = type("_Run", (KeepsToItself, pruned_trainer(self.task)), {})
        with api.quiet():
            try:
                trainer = run(overrides=arguments)
            except (TypeError, ValueError) as error:
                raise InputError(f"training cannot begin: {api.first_line(error)}") from error
        trainer.model = trainer.get_model(weights=model)
        trainer.add_callback("on_pretrain_routine_end", start)
        trainer.add_callback("on_train_epoch_start", state.begin_epoch)
        trainer.add_callback("on_train_epoch_end", end_training)
        trainer.add_callback("on_fit_epoch_end", end_epoch)
        with api.quiet():
            try:
                trainer.train()
            except RuntimeError as error:
                if "NaN" not in str(error):
                    raise
                lost = f"the loss is no longer a number after epoch {trainer.epoch + 1}"
                raise InputError(f"{lost}; train with a smaller lr0 than {schedule.lr0}") from error

    def _describe(self, model: Any, data: Mapping[str, Any]) -> nn.Module:
        """Attach what Ultralytics expects to find on a network: its task, class names and arguments."""
        model.task, model.names, model.nc = self.task, data["names"], data["nc"]
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
            "device": "cpu",
            "workers": 0,
            "cache": "ram",  # so that mosaic draws from all images, not from a buffer that a kill empties
            "amp": False,
            "patience": 0,
            "plots": False,
            "save": False,
            "verbose": False,
        }
