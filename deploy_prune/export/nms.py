"""Non-maximum suppression inside the file: a YOLO detector's raw boxes and scores become a list of detections."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deploy_prune.errors import ExportError, MissingDependencyError
from deploy_prune.export.onnx import rewrite_onnx

OUTPUT = "detections"
_PREFIX = "/suppression/"


@dataclass(frozen=True)
class Suppression:
    """Which boxes are kept; the first value is low enough for mAP, and a threshold can be put on the scores later.

    Attributes:
        confidence: boxes of a lower score are dropped.
        iou: of two boxes of one class that overlap more than this, the one of the lower score is dropped. Both values
            are those with which Ultralytics validates.
        max_detections: rows of the output, of the highest scores; the rest of them is zero.
    """

    confidence: float = 0.001
    iou: float = 0.7
    max_detections: int = 300


def append_nms(source: Path, target: Path, suppression: Suppression = Suppression()) -> Path:
    """Write a YOLO detector's file with its suppression in it: ``detections`` (1, max_detections, 6).

    A row is x0, y0, x1, y1 in pixels of the input, score, and number of the class; rows come by falling score. A box
    may be there under several classes, as in Ultralytics' validation. ONNX's NonMaxSuppression chooses the boxes.

    Raises:
        ExportError: it is no detector of one image of fixed size, with outputs as Ultralytics exports them.
        MissingDependencyError: onnx is not installed.
    """
    return rewrite_onnx(source, target, lambda model: _appended(model, source, suppression))


def _appended(model: Any, source: Path, suppression: Suppression) -> Any:
    try:
        from onnx import TensorProto, helper, numpy_helper
    except ImportError as error:
        raise MissingDependencyError("export needs onnx; run: pip install 'deploy_prune[onnx]'") from error
    raw, rows = _raw_output(model, source), suppression.max_detections
    channels = raw.type.tensor_type.shape.dim[1].dim_value
    constants: dict[str, Any] = {
        "first": [0], "boxes": [4], "end": [channels], "axis 1": [1], "limit": [rows],
        "iou": np.array([suppression.iou], np.float32), "confidence": np.array([suppression.confidence], np.float32),
        "image and box": [0, 2], "class": [1], "halves": [2, 2], "half": np.array(0.5, np.float32),
        "no rows": np.zeros((rows, 6), np.float32), "score column": [4], "class column": [5],
    }  # fmt: skip
    steps: list[
        tuple[str, list[str], list[str], dict[str, Any]]
    ] = [  # operator, inputs, outputs, attributes; m is how many boxes are selected, A how many there are
        ("Slice", ["raw", "first", "boxes", "axis 1"], ["centred"], {}),  # (1, 4, A)
        ("Slice", ["raw", "boxes", "end", "axis 1"], ["scores"], {}),  # (1, classes, A)
        ("Transpose", ["centred"], ["each box"], {"perm": [0, 2, 1]}),  # (1, A, 4)
        (
            "NonMaxSuppression",
            ["each box", "scores", "limit", "iou", "confidence"],
            ["selected"],  # (m, 3): image, class, box
            {"center_point_box": 1},
        ),
        ("GatherND", ["scores", "selected"], ["score"], {}),  # (m,)
        ("Unsqueeze", ["score", "axis 1"], ["score of row"], {}),
        ("Gather", ["selected", "class"], ["class number"], {"axis": 1}),  # (m, 1)
        ("Cast", ["class number"], ["class of row"], {"to": TensorProto.FLOAT}),
        ("Gather", ["selected", "image and box"], ["place"], {"axis": 1}),  # (m, 2)
        ("GatherND", ["each box", "place"], ["box"], {}),  # (m, 4)
        ("Split", ["box", "halves"], ["centre", "size"], {"axis": 1}),
        ("Mul", ["size", "half"], ["reach"], {}),
        ("Sub", ["centre", "reach"], ["low"], {}),
        ("Add", ["centre", "reach"], ["high"], {}),
        ("Concat", ["low", "high", "score of row", "class of row"], ["rows"], {"axis": 1}),
        ("Concat", ["rows", "no rows"], ["padded"], {"axis": 0}),
        ("Slice", ["padded", "score column", "class column", "axis 1"], ["ranked"], {}),
        ("TopK", ["ranked", "limit"], ["highest", "ranks"], {"axis": 0}),
        ("Squeeze", ["ranks", "axis 1"], ["order"], {}),
        ("Gather", ["padded", "order"], ["kept"], {"axis": 0}),
        ("Unsqueeze", ["kept", "first"], ["out"], {}),
    ]
    names = {"raw": raw.name, "out": OUTPUT}

    def named(words: list[str]) -> list[str]:
        return [names.get(word, _PREFIX + word.replace(" ", "_")) for word in words]

    for word, value in constants.items():
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(value), *named([word])))
    for number, (operator, inputs, outputs, attributes) in enumerate(steps):
        name = f"{_PREFIX}{number}/{operator}"
        model.graph.node.append(helper.make_node(operator, named(inputs), named(outputs), name, **attributes))
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [1, rows, 6]))
    return model


def _raw_output(model: Any, source: Path) -> Any:
    """The output (1, 4 + classes, A), in which a box is centre and size."""
    task = {entry.key: entry.value for entry in model.metadata_props}.get("task")
    outputs = list(model.graph.output)
    if task != "detect" or len(outputs) != 1:
        raise ExportError(f"{source.name} is no YOLO detector's file, whose boxes nms could choose from; leave nms out")
    sizes = [axis.dim_value for axis in outputs[0].type.tensor_type.shape.dim]
    if len(sizes) != 3 or sizes[0] != 1 or sizes[1] < 5:
        raise ExportError(
            f"{source.name} has outputs of shape {sizes} (0: left open); nms takes a file for one image of fixed size, "
            "(1, 4 + classes, boxes): export without dynamic"
        )
    return outputs[0]
