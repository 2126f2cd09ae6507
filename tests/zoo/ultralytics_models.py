"""Ultralytics: every model file that the installed version ships, in its smallest scale."""

from functools import partial
from pathlib import Path
from unittest import mock

import torchvision
import ultralytics
import yaml
from zoo.entry import Case, Entry, images
from zoo.lively import enliven

CONFIGS = Path(ultralytics.__file__).parent / "cfg" / "models"

SCALES = "nts"
"""The smallest scales, by letter."""

PIXELS = 64


def entries():
    """One model per file; two files that differ in their scale alone (yolov10n, yolov10s, …) count once each."""
    return [Entry("ultralytics", scaled_name(path), partial(build, path)) for path in sorted(CONFIGS.rglob("*.yaml"))]


def scaled_name(path):
    """The name that asks for the smallest scale: ``yolov8-seg`` becomes ``yolov8n-seg``."""
    scales = yaml.safe_load(path.read_text()).get("scales", {})
    letter = next((s for s in SCALES if s in scales), "")
    head, dash, rest = path.stem.partition("-")
    if head == "yoloe":
        version, dash, rest = rest.partition("-")
        head = f"yoloe-{version}"
    return f"{head}{letter}{dash}{rest}" if letter and not head.endswith(letter) else path.stem


def build(path):
    """The network alone, without the wrapper that trains and predicts."""
    name = scaled_name(path)
    wrapper = ultralytics.RTDETR if "rtdetr" in name else ultralytics.YOLO
    with mock.patch.object(torchvision.models, "get_model", partial(without_weights, torchvision.models.get_model)):
        model = wrapper(f"{name}.yaml").model
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    pixels = PIXELS * 2 if "p6" in name else PIXELS
    return Case(enliven(model), images(pixels))


def without_weights(build, name, **options):
    return build(name, **{**options, "weights": None})
