"""Every call into the Ultralytics package (AGPL-3.0, an optional extra): the only file that imports it."""

import contextlib
import logging
import os
import re
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from copy import copy, deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from deploy_prune.errors import ExportError, InputError, MissingDependencyError
from deploy_prune.tasks.architecture import architecture
from deploy_prune.tasks.kept_module import class_count
from deploy_prune.tasks.ultralytics_kinds import find_kind

OPSET = 17  # the newest that every runtime in use reads; Ultralytics itself stops at 18


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


def read_data(task: str, path: Path) -> dict[str, Any]:
    """Return a data set that exists as Ultralytics reads it: train, val, names, nc and more.

    Raises:
        InputError: it does not describe images that exist.
    """
    with quiet():
        from ultralytics.data.utils import check_cls_dataset, check_det_dataset

        try:
            if task == "classify":
                return dict(check_cls_dataset(str(path)))
            return dict(check_det_dataset(str(path), autodownload=False))
        except Exception as error:
            raise InputError(f"{path} does not describe a data set: {first_line(error)}") from error


def image_files(place: str | Path | Sequence[str]) -> tuple[str, ...]:
    """Return the images, sorted, that Ultralytics finds at one or several places: folders, or text files with paths."""
    with quiet():
        from ultralytics.data.base import BaseDataset

        finder: Any = BaseDataset.__new__(BaseDataset)  # its constructor would go on and read them all
        finder.prefix, finder.fraction = "", 1.0
        try:
            return tuple(finder.get_img_files(place))
        except FileNotFoundError:  # also if there are no images
            return ()


def label_files(images: Sequence[str]) -> tuple[str, ...]:
    """Return where Ultralytics looks for the labels of images: ``labels/`` in place of the last ``images/``."""
    with quiet():
        from ultralytics.data.utils import img2label_paths

        return tuple(img2label_paths(list(images)))


def build_network(task: str, config: str, classes: int, seed: int, *, keypoints: Sequence[int] | None = None) -> Any:
    """Return the untrained network of an architecture such as ``yolov8n.yaml``; same seed, same weights.

    Args:
        task: one of ``KINDS``.
        config: the architecture's name or file; it has to be one of the task.
        classes: how many it tells apart.
        seed: of its weights.
        keypoints: of a pose network, number of points and of values per point; by default the architecture's own.

    Raises:
        InputError: there is no such architecture, or it is one of another task.
    """
    model_class = find_class(task, "Model")
    special = {"data_kpt_shape": tuple(keypoints)} if keypoints is not None else {}
    with quiet(), torch.random.fork_rng():
        from ultralytics.nn.tasks import guess_model_task, yaml_model_load

        try:
            known = yaml_model_load(config)
        except FileNotFoundError as error:
            raise InputError(f"there is no YOLO architecture {config!r}; try 'yolov8n.yaml'") from error
        if (own := guess_model_task(known)) != task:
            raise InputError(f"{config} is an architecture to {own}, the task is to {task}; try {_example(task)!r}")
        torch.manual_seed(seed)
        network = model_class(config, nc=classes, verbose=False, **special)
    network.task = task  # as YOLO(config) sets it; the exporter asks for it
    return network


def _example(task: str) -> str:
    endings = {"detect": "", "segment": "-seg", "classify": "-cls"}
    return f"yolo11n{endings.get(task, '-' + task)}.yaml"


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
    # of classification it is the mean already, of all others the mean times the number of images
    found: torch.Tensor = loss.sum() / (1 if model.task == "classify" else len(batch["img"]))
    return found


def labelled_images(
    task: str, data: Mapping[str, Any], image_size: int, split: str = "train"
) -> Sequence[Mapping[str, Any]]:
    """Return the images of "train" or "val" without augmentation; ``[i]["img"]`` is RGB of shape (3, H, W).

    It is uint8, but for classification float32 in [0, 1].
    """
    with quiet():
        from ultralytics.cfg import get_cfg
        from ultralytics.data import ClassificationDataset, build_yolo_dataset

        settings: Any = get_cfg(overrides={"task": task, "imgsz": image_size})
        if task == "classify":
            folder: Any = ClassificationDataset(data[split], settings, names=data["names"])
            return folder
        images: Any = build_yolo_dataset(settings, data[split], 1, dict(data), mode="val", rect=False)
        return images


def draw_outlines(segments: Sequence[Any], shape: tuple[int, int]) -> Any:
    """Return the pixels (n, H, W) within outlines (points, 2), which are shares of a picture of ``shape`` (H, W)."""
    height, width = shape
    with quiet():
        from ultralytics.data.utils import polygon2mask

        drawn = [polygon2mask(shape, [(outline * [width, height]).ravel()]) for outline in segments]
    return np.array(drawn, bool).reshape(-1, height, width)


def device() -> str:
    """What Ultralytics trains and validates on: the first GPU, else the CPU."""
    return "0" if torch.cuda.is_available() else "cpu"


def export_file(model: nn.Module, image_size: int, folder: Path, simplify: bool = True, dynamic: bool = False) -> Path:
    """Write ``model.onnx`` into ``folder``; ``model`` itself stays as it is.

    It takes one image of a fixed size, or if ``dynamic`` any number of images of any size.

    Raises:
        ExportError: Ultralytics could not export it.
    """
    settings = {
        "format": "onnx",
        "imgsz": image_size,
        "batch": 1,
        "opset": OPSET,
        "simplify": simplify,
        "dynamic": dynamic,
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
