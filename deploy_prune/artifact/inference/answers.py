"""What was found in a picture, in words and numbers that JSON can hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from deploy_prune.artifact.inference.masks import run_lengths
from deploy_prune.artifact.inference.pictures import Placement
from deploy_prune.artifact.inference.scores import nearest

MOST = 5  # classes that are listed for a picture


def describe(found: dict[str, Any], manifest: dict[str, Any], placement: Placement) -> dict[str, Any]:
    """The answer with class names; boxes are (x0, y0, x1, y1) in pixels of the picture, masks COCO's run lengths."""
    classes = manifest["classes"]
    if "probabilities" in found:
        return _describe_classes(found["probabilities"], classes)
    if "class_map" in found:
        counts = np.bincount(found["class_map"].ravel(), minlength=len(classes))
        return {"shares": {classes[i]: _rounded(counts[i] / counts.sum()) for i in counts.nonzero()[0]}}
    if "outputs" in found:
        return {"outputs": [{"shape": list(one.shape), "min": float(one.min()), "max": float(one.max()),
                             "mean": float(one.mean())} for one in found["outputs"]]}  # fmt: skip
    return {"objects": [_describe_object(found, i, manifest, placement) for i in range(len(found["labels"]))]}


def write_class_map(found: dict[str, Any], placement: Placement, path: Path) -> None:
    """Write a picture's map of class numbers as a grey PNG of its size."""
    from PIL import Image

    class_map = nearest(found["class_map"], (placement.height, placement.width))
    temporary = path.with_name("." + path.name)
    Image.fromarray(class_map).save(temporary, format="PNG")
    temporary.replace(path)


def _describe_classes(probabilities: Any, classes: list[str]) -> dict[str, Any]:
    order = np.argsort(-probabilities, kind="stable")[:MOST]
    top = [{"class": classes[i], "score": _rounded(probabilities[i])} for i in order]
    return {**top[0], "top": top}


def _describe_object(found: dict[str, Any], i: int, manifest: dict[str, Any], placement: Placement) -> dict[str, Any]:
    said: dict[str, Any] = {
        "class": manifest["classes"][int(found["labels"][i])],
        "score": _rounded(found["scores"][i]),
    }
    if "boxes" in found:
        said["box"] = _in_pixels(found["boxes"][i])
    if "corners" in found:
        said["corners"] = [_in_pixels(corner) for corner in found["corners"][i]]
    if "keypoints" in found:
        names = manifest["postprocessing"]["keypoints"]["names"]
        points = [_describe_point(point) for point in found["keypoints"][i]]
        said["keypoints"] = dict(zip(names, points))  # noqa: B905 - Python 3.8 has no strict
    if "windows" in found:
        counts = run_lengths(found["windows"][i], placement)
        said["mask"] = {"size": [placement.height, placement.width], "counts": counts}
    return said


def _describe_point(point: Any) -> dict[str, float]:
    x, y = _in_pixels(point[:2])
    return {"x": x, "y": y} if len(point) == 2 else {"x": x, "y": y, "score": _rounded(point[2])}


def _in_pixels(values: Any) -> list[float]:
    return [round(float(value), 2) for value in values]


def _rounded(share: Any) -> float:
    return round(float(share), 5)
