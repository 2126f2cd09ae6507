"""How an exported YOLO file is used, in the manifest's words."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from deploy_prune.artifact.usage import Keypoints, Label, LabelledObject, Postprocessing, Preprocessing, Selection
from deploy_prune.tasks import ultralytics_api as api
from deploy_prune.tasks.ultralytics_data import open_data
from deploy_prune.tasks.usage import Usage, UsageSample, spread

# Ultralytics' defaults when it predicts, and when it validates.
ANSWERS = Selection(score=0.25, overlap=0.7, candidates=30000, most=300, every_class=False)
SCORING = ANSWERS.model_copy(update={"score": 0.001, "every_class": True})
OUTPUTS = {"detect": "yolo_boxes", "segment": "yolo_masks", "pose": "yolo_keypoints", "obb": "yolo_turned"}
# COCO's of people, from nose to ankles: https://cocodataset.org/#keypoints-eval
PEOPLE = [0.026, *[0.025] * 2, *[0.035] * 2, *[0.079] * 2, *[0.072] * 2, *[0.062] * 2, *[0.107] * 2, *[0.087] * 2,
          *[0.089] * 2]  # fmt: skip
LICENCE = (
    "Network and training are Ultralytics', under AGPL-3.0: a product or network service with this model has to meet "
    "it, or needs their commercial licence. `infer.py` and `inference/` hold none of their code."
)


def describe_usage(task: str, path: Path, image_size: int, n: int) -> Usage:
    """Return how an exported file is used, with up to ``n`` validation images of the data set at ``path``."""
    data = open_data(task, path)
    images: Any = api.labelled_images(task, data, image_size, "val")
    samples = tuple(_describe_sample(task, images, i) for i in spread(len(images), n))
    names = tuple(data["names"][i] for i in range(data["nc"]))
    how = Preprocessing(kind="crop" if task == "classify" else "letterbox", size=image_size, exif_orientation=True)
    return Usage(names, how, _describe_outputs(task, data), samples, (LICENCE,))


def _describe_outputs(task: str, data: Mapping[str, Any]) -> Postprocessing:
    if task == "classify":
        return Postprocessing(kind="probabilities")
    points = _describe_keypoints(data) if task == "pose" else None
    return Postprocessing(kind=OUTPUTS[task], selection=ANSWERS, scoring=SCORING, keypoints=points)


def _describe_keypoints(data: Mapping[str, Any]) -> Keypoints:
    """Names and sigmas as the data say, else numbers and Ultralytics' defaults: COCO's of people, or equal ones."""
    count, values = data["kpt_shape"]
    names = (data.get("kpt_names") or {}).get(0) or [str(point) for point in range(count)]
    usual = PEOPLE if (count, values) == (17, 3) else [1 / count] * count
    sigmas = data.get("kpt_oks_sigmas") or usual
    return Keypoints(names=tuple(names), values=values, sigmas=tuple(float(one) for one in sigmas))


def _describe_sample(task: str, images: Any, index: int) -> UsageSample:
    item = images[index]
    inputs: Tensor = item["img"][None]
    inputs = inputs if inputs.is_floating_point() else inputs.float() / 255
    if task == "classify":
        return UsageSample(inputs, Path(images.samples[index][0]), Label(kind="class", class_number=int(item["cls"])))
    found = images.labels[index]
    masks = api.draw_outlines(found["segments"], found["shape"]) if task == "segment" else None
    objects = tuple(_describe_object(task, found, i) for i in range(len(found["cls"])))
    return UsageSample(inputs, Path(found["im_file"]), Label(kind="objects", objects=objects), masks=masks)


def _describe_object(task: str, found: Mapping[str, Any], i: int) -> LabelledObject:
    """Ultralytics keeps all places as shares of the picture, boxes as centre and size."""
    height, width = found["shape"]
    pixels, number = np.array([width, height], float), int(found["cls"][i].item())
    if task == "obb":
        corners = (found["segments"][i].astype(float) * pixels).round(2).tolist()
        return LabelledObject(class_number=number, corners=tuple((x, y) for x, y in corners))
    centre, size = found["bboxes"][i].astype(float).reshape(2, 2)
    x0, y0, x1, y1 = np.concatenate([(centre - size / 2) * pixels, (centre + size / 2) * pixels]).round(2).tolist()
    points = None
    if task == "pose":
        places = found["keypoints"][i].astype(float)
        seen = places[:, 2] if places.shape[1] == 3 else (places >= 0).all(axis=1).astype(float)
        rows = np.column_stack([(places[:, :2] * pixels).round(2), seen]).tolist()
        points = tuple((x, y, visible) for x, y, visible in rows)
    return LabelledObject(class_number=number, box=(x0, y0, x1, y1), keypoints=points)
