"""How an exported YOLO file is used, in the manifest's words."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from deploy_prune.artifact.manifest import Label, LabelledObject, Postprocessing, Preprocessing, Selection
from deploy_prune.tasks import ultralytics_api as api
from deploy_prune.tasks.delivery import Delivery, DeliverySample, spread
from deploy_prune.tasks.ultralytics_data import open_data

# Ultralytics' defaults when it predicts, and when it validates.
ANSWERS = Selection(score=0.25, overlap=0.7, candidates=30000, most=300, every_class=False)
SCORING = ANSWERS.model_copy(update={"score": 0.001, "every_class": True})
LICENCE = (
    "Network and training are Ultralytics', under AGPL-3.0: a product or network service with this model has to meet "
    "it, or needs their commercial licence. `infer.py` and `inference/` hold none of their code."
)


def describe_delivery(task: str, path: Path, image_size: int, n: int) -> Delivery:
    """Return how an exported file is used, with up to ``n`` validation images of the data set at ``path``."""
    data = open_data(task, path)
    images: Any = api.labelled_images(task, data, image_size, "val")
    samples = tuple(_describe_sample(task, images, i) for i in spread(len(images), n))
    names = tuple(data["names"][i] for i in range(data["nc"]))
    how = Preprocessing(kind="crop" if task == "classify" else "letterbox", size=image_size, exif_orientation=True)
    return Delivery(names, how, _describe_outputs(task), samples, (LICENCE,))


def _describe_outputs(task: str) -> Postprocessing:
    if task == "classify":
        return Postprocessing(kind="probabilities")
    if task == "detect":
        return Postprocessing(kind="yolo_boxes", selection=ANSWERS, scoring=SCORING)
    return Postprocessing(kind="raw")


def _describe_sample(task: str, images: Any, index: int) -> DeliverySample:
    item = images[index]
    inputs: Tensor = item["img"][None]
    inputs = inputs if inputs.is_floating_point() else inputs.float() / 255
    if task == "classify":
        return DeliverySample(
            inputs, Path(images.samples[index][0]), Label(kind="class", class_number=int(item["cls"]))
        )
    found = images.labels[index]
    return DeliverySample(inputs, Path(found["im_file"]), _describe_objects(found) if task == "detect" else None)


def _describe_objects(found: Mapping[str, Any]) -> Label:
    """Ultralytics keeps boxes as centre and size, as shares of the picture."""
    height, width = found["shape"]
    centres, sizes = torch.from_numpy(found["bboxes"]).double().reshape(-1, 2, 2).unbind(1)
    pixels = torch.tensor([width, height]).double()
    corners = torch.cat([(centres - sizes / 2) * pixels, (centres + sizes / 2) * pixels], dim=1)
    return Label(
        kind="objects",
        objects=tuple(
            LabelledObject(class_number=int(number), box=tuple(round(edge, 2) for edge in box.tolist()))
            for number, box in zip(found["cls"].ravel(), corners, strict=True)
        ),
    )
