"""torchvision: every classifier, segmentation, detection and video model that the installed version lists."""

from functools import partial
from unittest import mock

import torch
import torchvision
from torch import nn
from torchvision.models.video import mvit
from zoo.entry import Case, Entry, images
from zoo.lively import enliven

SIZE = 64
SIZES = {"inception_v3": 299, "maxvit_t": 224, "vit_h_14": 56}
"""Pixels where 64 do not do: Inception's auxiliary classifier and MaxViT's windows of 7 need more."""

OPTIONS = {"googlenet": {"init_weights": False}, "inception_v3": {"init_weights": False}}
"""Their own initialisation takes a minute."""

CHAOTIC = ("efficientnet_v2_l",)
"""So many residual blocks at random amplify rounding until nothing else is left, so each adds less here."""

DETECTION = {"fasterrcnn": "box_", "maskrcnn": "box_", "keypointrcnn": "box_"}
"""Prefix of the thresholds' names."""


def entries():
    """All models, by what they are for."""
    kinds = {
        "classification": (torchvision.models, classifier),
        "segmentation": (torchvision.models.segmentation, segmenter),
        "detection": (torchvision.models.detection, detector),
        "video": (torchvision.models.video, video),
    }
    return [
        Entry(f"torchvision-{kind}", name, partial(build, name))
        for kind, (module, build) in kinds.items()
        for name in torchvision.models.list_models(module)
    ]


def classifier(name):
    size = SIZES.get(name, SIZE)
    options = {"image_size": size} if name.startswith("vit_") else OPTIONS.get(name, {})
    model = enliven(torchvision.models.get_model(name, weights=None, **options))
    for block in model.modules() if name in CHAOTIC else ():
        if getattr(block, "use_res_connect", False):
            block.block[-1][1].weight.data *= 0.3
    return Case(model, images(size))


def segmenter(name):
    auxiliary = {} if name.startswith("lraspp") else {"aux_loss": True}
    model = torchvision.models.get_model(name, weights=None, weights_backbone=None, **auxiliary)
    return Case(enliven(model), images(SIZE))


def detector(name):
    """In train mode the losses on two boxes per image; in eval mode the few best boxes, however unlikely."""
    prefix = DETECTION.get(name.split("_")[0], "")
    options = {f"{prefix}score_thresh": 0.0, f"{prefix}detections_per_img": 5}
    if not name.startswith("ssd"):
        options |= {"min_size": SIZE, "max_size": SIZE}
    model = torchvision.models.get_model(name, weights=None, weights_backbone=None, **options)
    boxes = torch.tensor([[4.0, 6.0, 40.0, 50.0], [20.0, 8.0, 60.0, 44.0]])
    target = {"boxes": boxes, "labels": torch.tensor([1, 2])}
    if name.startswith("mask"):
        target["masks"] = torch.zeros(2, SIZE, SIZE, dtype=torch.uint8).index_fill(1, torch.arange(8, 40), 1)
    if name.startswith("keypoint"):
        target["keypoints"] = torch.cat([torch.rand(2, 17, 2) * SIZE, torch.ones(2, 17, 1)], 2)
    pictures = list(images(SIZE))
    return Case(enliven(model), (pictures, [target] * len(pictures)), forward_fn=detect_or_lose)


def detect_or_lose(model, inputs):
    """The losses in train mode, else the detections."""
    return model(*inputs) if model.training else model(inputs[0])


def video(name):
    """Clips as short and small as each network bears."""
    if name.startswith("mvit"):
        build = mvit._mvit
        with mock.patch.object(mvit, "_mvit", partial(small_clips, build)):
            model = torchvision.models.get_model(name, weights=None)
        shape = (2, 3, 4, SIZE, SIZE)
    else:
        model = torchvision.models.get_model(name, weights=None)
        shape = (2, 3, 4, SIZE, SIZE)
    if name == "s3d":
        model.avgpool, shape = nn.AvgPool3d(2, 1), (2, 3, 16, SIZE, SIZE)
    return Case(enliven(model), torch.rand(shape, generator=torch.Generator().manual_seed(0)))


def small_clips(build, **options):
    return build(**{**options, "spatial_size": (SIZE, SIZE), "temporal_size": 4})
