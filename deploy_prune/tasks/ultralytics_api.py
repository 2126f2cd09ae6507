"""Every call into the Ultralytics package (AGPL-3.0, an optional extra): the only file that imports it."""

import contextlib
import logging
import os
import re
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from copy import copy, deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from deploy_prune.errors import ExportError, InputError, MissingDependencyError
from deploy_prune.tasks.architecture import architecture
from deploy_prune.tasks.kept_module import class_count

OPSET = 17  # the newest that every runtime in use reads; Ultralytics itself stops at 18


@dataclass(frozen=True)
class Kind:
    """How Ultralytics spells a task: prefix of its classes, key of its score, and the score's name."""

    prefix: str
    score_key: str
    score_name: str


KINDS = {
    "detect": Kind("Detection", "metrics/mAP50-95(B)", "mAP50-95"),
    "segment": Kind("Segmentation", "metrics/mAP50-95(M)", "mask mAP50-95"),
}


def find_kind(task: str) -> Kind:
    """Return the entry of ``task``; raise InputError, naming the tasks there are, if there is none."""
    if task not in KINDS:
        raise InputError(f"unknown YOLO task {task!r}; choose one of: {', '.join(KINDS)}")
    return KINDS[task]


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Import Ultralytics if need be, and keep it from printing, downloading and installing meanwhile.

    Raises:
        MissingDependencyError: it is not installed.
    """
    for name, value in (("YOLO_OFFLINE", "true"), ("YOLO_AUTOINSTALL", "false")):
        os.environ.setdefault(name, value)  # read at its import only
    threads = torch.get_num_threads()  # on the CPU it takes one less than there are processors, for good
    inherited = os.environ.get("OMP_NUM_THREADS")  # its import sets 1, which child processes would inherit
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)  # the import itself prints
    try:
        try:
            from ultralytics.utils import LOGGER
        except ImportError as error:
            raise MissingDependencyError("YOLO needs Ultralytics; run: pip install 'deploy_prune[yolo]'") from error
        if inherited is None:
            os.environ.pop("OMP_NUM_THREADS", None)
        level = LOGGER.level
        LOGGER.setLevel(logging.ERROR)  # its progress bars look at the level, not at what is disabled
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                yield
        finally:
            LOGGER.setLevel(level)
    finally:
        logging.disable(disabled)
        torch.set_num_threads(threads)


def find_class(task: str, role: str) -> Any:
    """Return Ultralytics' class for a task; ``role`` is ``Trainer``, ``Validator`` or ``Model``."""
    name = f"{find_kind(task).prefix}{role}"
    with quiet():
        from ultralytics.models import yolo
        from ultralytics.nn import tasks

        return getattr(tasks, name) if role == "Model" else getattr(getattr(yolo, task), name)


def read_data(path: Path) -> dict[str, Any]:
    """Return the data set at a ``.yaml`` file as Ultralytics reads it: train, val, names, nc and more.

    Raises:
        InputError: there is no such file, or it does not describe images that exist.
    """
    if not path.is_file():
        raise InputError(f"no such data file: {path}; expected a YAML file with train, val and names")
    with quiet():
        from ultralytics.data.utils import check_det_dataset

        try:
            return check_det_dataset(str(path), autodownload=False)
        except Exception as error:
            raise InputError(f"{path} does not describe a data set: {first_line(error)}") from error


def build_network(task: str, config: str, classes: int, seed: int) -> Any:
    """Return the untrained network of an architecture such as ``yolov8n.yaml``; same seed, same weights.

    Raises:
        InputError: there is no such architecture.
    """
    model_class = find_class(task, "Model")
    with quiet(), torch.random.fork_rng():
        torch.manual_seed(seed)
        try:
            network = model_class(config, nc=classes, verbose=False)
        except FileNotFoundError as error:
            raise InputError(f"there is no YOLO architecture {config!r}; try 'yolov8n.yaml'") from error
    network.task = task  # as YOLO(config) sets it; the exporter asks for it
    return network


def smaller_scales(config: str | Mapping[str, Any]) -> tuple[str, ...]:
    """Return names of an architecture's smaller scales, largest first: ``yolov8m.yaml`` has s and n.

    Args:
        config: its name, or the ``yaml`` of a network. One without scales, or that was pruned, has none.
    """
    with quiet():
        from ultralytics.nn.tasks import yaml_model_load

        known = yaml_model_load(config) if isinstance(config, str) else config
    scales, own = known.get("scales") or {}, known.get("scale")
    if own not in scales:
        return ()
    path = Path(known["yaml_file"])
    # a scale's depth, width and most channels; the letter stands behind the version, as in yolov8s-seg.yaml
    order = sorted((s for s in scales if scales[s] < scales[own]), key=lambda s: scales[s], reverse=True)
    stem = re.sub(rf"(\d+){own}(?![a-z])", r"\1", path.stem)
    return tuple(re.sub(r"^(.*?\d+)(?=$|-)", rf"\g<1>{scale}", stem) + path.suffix for scale in order)


def load_network(path: Path) -> Any:
    """Return the network in a ``.pt`` file, in float32 and eval mode.

    Raises:
        InputError: the file is missing or damaged, or holds no YOLO network.
    """
    if not path.is_file():
        raise InputError(f"no such file: {path}; expected a YOLO .pt file")
    with quiet():
        from ultralytics.nn.tasks import load_checkpoint

        try:
            return load_checkpoint(str(path))[0]
        except Exception as error:
            reason = f"{path} is not a YOLO .pt file that Ultralytics can load"
            raise InputError(f"{reason} ({first_line(error)}); expected one that YOLO(path) opens") from error


def is_rebuildable(model: Any) -> bool:
    """Return whether ``model.yaml`` still describes ``model``: Ultralytics' trainers may rebuild it."""
    with quiet(), torch.random.fork_rng():
        try:
            channels = model.yaml.get("channels", 3)
            fresh = type(model)(deepcopy(model.yaml), ch=channels, nc=class_count(model), verbose=False)
        except KeyError:  # marked by refuse_rebuild
            return False
    return architecture(fresh) == architecture(model)


def version() -> str:
    """Return Ultralytics' version."""
    with quiet():
        import ultralytics

        return str(ultralytics.__version__)


def validate(task: str, model: nn.Module | Path, arguments: Mapping[str, Any]) -> float:
    """Return the score of a module or file on the validation data; ``arguments`` are Ultralytics' own."""
    validator_class = find_class(task, "Validator")
    subject = str(model) if isinstance(model, Path) else model
    with quiet(), tempfile.TemporaryDirectory() as folder:
        scores = validator_class(args={**arguments, "mode": "val", "project": folder})(model=subject)
    return float(scores[find_kind(task).score_key])


def training_batches(task: str, path: Path, image_size: int, n: int, size: int) -> list[dict[str, Any]]:
    """Return ``n`` training images of a data set, spread evenly over it, with labels, as a network's loss takes them.

    Each batch has ``size`` of them, the last one perhaps fewer; ``img`` is RGB in [0, 1].

    Raises:
        InputError: there are no ``n`` images.
    """
    images: Any = training_images(task, read_data(path), image_size)
    if not 1 <= n <= len(images):
        raise InputError(f"asked for {n} training images; {path} has {len(images)}")
    chosen = [images[k * len(images) // n] for k in range(n)]
    batches = []
    for first in range(0, n, size):
        batch: dict[str, Any] = images.collate_fn([dict(one) for one in chosen[first : first + size]])
        batches.append(batch | {"img": batch["img"].float() / 255})
    return batches


def training_loss(model: Any, batch: Mapping[str, Any]) -> torch.Tensor:
    """Return the mean loss per image of a network, in the mode in which it is, with Ultralytics' usual gains."""
    with quiet():
        from ultralytics.cfg import get_cfg

        own = model.args
        model.args = get_cfg()
        try:
            criterion = model.init_criterion()
        finally:
            model.args = own
        loss, _ = criterion(model(batch["img"]), batch)
    found: torch.Tensor = loss.sum() / len(batch["img"])
    return found


def training_images(task: str, data: Mapping[str, Any], image_size: int) -> Sequence[Mapping[str, Any]]:
    """Return the training images without augmentation; ``[i]["img"]`` is uint8 RGB of shape (3, H, W)."""
    with quiet():
        from ultralytics.cfg import get_cfg
        from ultralytics.data import build_yolo_dataset

        settings: Any = get_cfg(overrides={"task": task, "imgsz": image_size})
        images: Any = build_yolo_dataset(settings, data["train"], 1, dict(data), mode="val", rect=False)
        return images


def export_file(model: nn.Module, image_size: int, folder: Path, simplify: bool = True) -> Path:
    """Write ``model.onnx`` into ``folder`` for one image of a fixed size; ``model`` itself stays as it is.

    Raises:
        ExportError: Ultralytics could not export it.
    """
    settings = {
        "format": "onnx",
        "imgsz": image_size,
        "batch": 1,
        "opset": OPSET,
        "simplify": simplify,
        "device": "cpu",
    }
    subject: Any = copy(model)  # the exporter works on a deep copy of it and writes beside its ``pt_path``
    subject.pt_path = str(folder / "model.pt")
    with quiet():
        from ultralytics.engine.exporter import Exporter

        try:
            return Path(Exporter(overrides=settings)(subject))
        except Exception as error:
            raise ExportError(f"Ultralytics could not export the network: {first_line(error)}") from error


def first_line(error: Exception) -> str:
    """Return the first line of an error's message, or its class name."""
    return str(error).strip().split("\n")[0] or type(error).__name__
