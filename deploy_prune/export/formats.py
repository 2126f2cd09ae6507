"""The formats and precisions in which a network can be delivered, and how each file is made."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from deploy_prune.errors import InputError
from deploy_prune.export.best_int8 import quantise_best
from deploy_prune.export.float16 import convert_float16
from deploy_prune.export.int8 import X86, Scheme
from deploy_prune.export.ncnn import SUFFIX, weights_of, write_ncnn
from deploy_prune.export.openvino import write_int8_ir, write_ir
from deploy_prune.export.pt2 import write_pt2

PRECISIONS = ("fp32", "fp16", "int8")
NO_RANGES = "INT8 needs real inputs to find its ranges: give --data, or leave int8 out"


@dataclass(frozen=True, eq=False)
class Source:
    """What files are made from.

    Attributes:
        model: the network.
        inputs: one input (1, ...).
        fixed: its ONNX file in float32, for the shape of ``inputs``.
        onnx: the one that is delivered as ONNX; another only where its axes are open.
        calibration: real inputs (n, ...) for INT8; None: there are none.
        judge: the task's metric of a file; None where nothing can judge it.
        scheme: the integers of ONNX files.
        try_all_layers: see ``quantise_best``.
    """

    model: nn.Module
    inputs: Tensor
    fixed: Path
    onnx: Path
    calibration: Tensor | None = None
    judge: Callable[[Path], float] | None = None
    scheme: Scheme = X86
    try_all_layers: bool = False

    def calibrated(self) -> Tensor:
        """The calibration data."""
        if self.calibration is None:
            raise InputError(NO_RANGES)
        return self.calibration


@dataclass(frozen=True)
class Format:
    """A kind of file.

    Attributes:
        suffix: of the file that is opened; there may be one with the weights beside it.
        engine: which of ``hardware.engines`` times it; None: none does.
        packages: what it needs, each with the extra that brings it.
        writers: by precision, what writes the file and says in a few words how.
    """

    suffix: str
    engine: str | None
    packages: Mapping[str, str]
    writers: Mapping[str, Callable[[Source, Path], str]]


def files_of(path: Path) -> list[Path]:
    """The file and, where its format has one, that of its weights."""
    if path.suffix == ".xml":
        return [path, path.with_suffix(".bin")]
    return [path, weights_of(path)] if path.name.endswith(SUFFIX) else [path]


def _onnx(source: Source, path: Path) -> str:
    shutil.copyfile(source.onnx, path)
    return ""


def _onnx_half(source: Source, path: Path) -> str:
    convert_float16(source.onnx, path)
    return "inputs and outputs float32"


def _onnx_int8(source: Source, path: Path) -> str:
    best, *_ = quantise_best(
        source.onnx, path, source.calibrated(), source.judge,
        scheme=source.scheme, try_all_layers=source.try_all_layers,
    )  # fmt: skip
    return f"{source.scheme.name}, {best}"


def _ir(source: Source, path: Path) -> str:
    write_ir(source.fixed, path)
    return ""


def _ir_half(source: Source, path: Path) -> str:
    write_ir(source.fixed, path, float16=True)
    return "weights stored as float16"


def _ir_int8(source: Source, path: Path) -> str:
    write_int8_ir(source.fixed, path, source.calibrated())
    return "NNCF, heads float"


def _pt2(source: Source, path: Path) -> str:
    write_pt2(source.model, source.inputs, path)
    return ""


def _ncnn(source: Source, path: Path) -> str:
    write_ncnn(source.fixed, path, source.inputs.shape)
    return ""


def _ncnn_half(source: Source, path: Path) -> str:
    write_ncnn(source.fixed, path, source.inputs.shape, float16=True)
    return "weights stored as float16"


FORMATS = {
    "onnx": Format(
        ".onnx", "onnxruntime", {"onnx": "onnx", "onnxruntime": "onnx"},
        {"fp32": _onnx, "fp16": _onnx_half, "int8": _onnx_int8},
    ),
    "openvino": Format(
        ".xml", "openvino", {"openvino": "openvino", "nncf": "openvino"},
        {"fp32": _ir, "fp16": _ir_half, "int8": _ir_int8},
    ),
    "pt2": Format(".pt2", "torch", {}, {"fp32": _pt2}),
    "ncnn": Format(SUFFIX, None, {"pnnx": "ncnn", "ncnn": "ncnn"}, {"fp32": _ncnn, "fp16": _ncnn_half}),
}  # fmt: skip
"""By the name that recipes and the command line use."""
