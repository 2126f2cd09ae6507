"""Readers of what TensorRT writes: single runs, layer times, layer descriptions, and the log of a build.

The formats are those of sampleReporting.cpp in NVIDIA/TensorRT at the tags v8.6.1 to v11.1 (times, profile), of the
documentation pages "Engine Inspector" and "Migrating IEngineInspector Usage from TensorRT 10.x to 11.x" (layers), and
of logs in public issues (DLA). Unknown keys are passed over, since every version adds some.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy_prune.runtime.worker.refusal import RefusedError

# How texts such as "Row major linear FP32 format", "Half" or "BFloat16" name a type -> ONNX's names. In this order:
# "BF16" has to be found before "FP16" could be, "UInt8" before "Int8".
_TYPES = (
    (re.compile(r"BF16|BFloat16", re.IGNORECASE), "bfloat16"),
    (re.compile(r"FP8|Float8|E4M3|E5M2", re.IGNORECASE), "float8"),
    (re.compile(r"FP4|Float4|E2M1", re.IGNORECASE), "float4"),
    (re.compile(r"FP16|Half|Float16", re.IGNORECASE), "float16"),
    (re.compile(r"FP32|Float", re.IGNORECASE), "float"),
    (re.compile(r"UInt8", re.IGNORECASE), "uint8"),
    (re.compile(r"Int8", re.IGNORECASE), "int8"),
    (re.compile(r"Int64", re.IGNORECASE), "int64"),
    (re.compile(r"Int32", re.IGNORECASE), "int32"),
    (re.compile(r"Int4", re.IGNORECASE), "int4"),
    (re.compile(r"Bool", re.IGNORECASE), "bool"),
)
# ONNX's names -> those of profiles
_PRECISIONS = {"float": "fp32", "float16": "fp16", "bfloat16": "bf16"}
_BYTES = {"int64": 8, "float": 4, "int32": 4, "float16": 2, "bfloat16": 2}
_TYPE_KEYS = ("Format/Datatype", "Datatype", "DataType", "Format")
# "[ONNX Layer: /conv1/Conv]", one behind another with separators of control characters or none
_ORIGIN = re.compile(r"\[ONNX Layer: ([^\]]+)\]")
# What stands between the names of nodes in a layer's name: "/conv + /relu", "PWN(PWN(/a), /b)",
# "{ForeignNode[/a.../b]}" and the names of layers that no node made, "(Unnamed Layer* 3) [Shuffle]".
_BETWEEN = re.compile(r"\(Unnamed Layer\* \d+\) \[\w+\]|PWN\(|\{ForeignNode\[|\.\.\.|\]\}|\)|,? \+ |, ")
_COPIES = re.compile(r"^Reformatting CopyNode for (?:Input|Output) Tensor \d+ (?:to|of) ")
# A node without a name is called after its first output.
_NAMELESS = "node_of_"

_LOG_TIME = re.compile(r"^\[[\d/:\- ]+\] ")
_DEVICE = re.compile(r"\[I\] Selected Device: (.+)")
_ON_DLA = re.compile(r"\[DlaLayer\] (.+)")
_ON_GPU = re.compile(r"\[GpuLayer\] (.+)")
_FELL_BACK = (
    re.compile(r"Layer '(.+)' \(\w+\): Unsupported on DLA. Switching this layer's device type to GPU"),
    re.compile(r"Default DLA is enabled but layer (.+) is not supported on DLA, falling back to GPU"),
)
_ERROR = re.compile(r"\[E\] (?:\[TRT\] )?(.+)")


@dataclass(frozen=True)
class BuildLog:
    """What the log of a build tells.

    ``dla_layers`` run on the DLA and ``gpu_layers`` on the GPU, where a DLA was asked for; ``fallback`` are the layers
    that were meant for the DLA and moved to the GPU. ``errors`` are its error lines.
    """

    gpu: str
    dla_layers: tuple[str, ...]
    gpu_layers: tuple[str, ...]
    fallback: tuple[str, ...]
    errors: tuple[str, ...]


def read_log(text: str) -> BuildLog:
    """Read the log of trtexec or of the builder."""

    def find(*patterns: re.Pattern[str]) -> tuple[str, ...]:
        found = (match.group(1).strip(" ,") for pattern in patterns for match in pattern.finditer(text))
        return tuple(dict.fromkeys(found))

    gpus = find(_DEVICE)
    errors = tuple(_LOG_TIME.sub("", error) for error in find(_ERROR))
    return BuildLog(gpus[0] if gpus else "unknown", find(_ON_DLA), find(_ON_GPU), find(*_FELL_BACK), errors)


def read_file(path: Path) -> str:
    """The text of a report; refused where trtexec has not written it."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise RefusedError("failed", f"trtexec did not write {path.name} ({error.strerror})") from error


def read_times(path: Path) -> list[float]:
    """Seconds of each run on the device, from a file of ``--exportTimes``: a list of objects with ``computeMs``.

    The differences of the file's time stamps would do as well, but for their six digits.
    """
    entries = _load(path)
    times = [entry["computeMs"] / 1e3 for entry in entries if isinstance(entry, dict) and "computeMs" in entry]
    if not times:
        raise RefusedError("failed", f"trtexec wrote no 'computeMs' of any run into {path.name}")
    return times


def read_profile(path: Path) -> list[tuple[str, float]]:
    """Name and median seconds of each layer in order of execution, from a file of ``--exportProfile``.

    The file is a list: first ``{"count": runs}``, then one object per layer. There are no times of single runs in it.
    """
    layers = [entry for entry in _load(path) if isinstance(entry, dict) and "name" in entry]
    if not layers or not all("medianMs" in layer for layer in layers):
        raise RefusedError("failed", f"trtexec wrote no layer times into {path.name}")
    return [(layer["name"], layer["medianMs"] / 1e3) for layer in layers]


def read_layers(text: str) -> list[dict[str, Any]]:
    """The layers of an engine from the inspector's JSON; a layer that is a mere name becomes ``{"Name": name}``.

    They are bare names where the engine was built without detailed verbosity. Around them stand ``Bindings`` before
    11.0 and ``I/O Tensors`` since, which are not needed here.
    """
    content = _parse(text, "the engine inspector's output")
    layers = content.get("Layers", []) if isinstance(content, dict) else content
    return [layer if isinstance(layer, dict) else {"Name": str(layer)} for layer in layers]


def join_times(layers: list[dict[str, Any]], timed: list[tuple[str, list[float]]]) -> list[dict[str, Any]]:
    """Node records of the worker: what the inspector says of each layer that was timed, with its times.

    Args:
        layers: see ``read_layers``; a layer that it does not have is described by its name alone.
        timed: names in order of execution, each with the microseconds of every run. Of two layers of one name the
            first is the inspector's first.
    """
    waiting: dict[str, list[dict[str, Any]]] = {}
    for layer in layers:
        waiting.setdefault(str(layer.get("Name")), []).append(layer)
    records = []
    for name, durations in timed:
        described = waiting[name].pop(0) if waiting.get(name) else {"Name": name}
        records.append({**describe_layer(described), "durations_us": durations})
    return records


def describe_layer(layer: dict[str, Any]) -> dict[str, Any]:
    """A node record without its times; ``layers`` are the ONNX nodes that it computes, as TensorRT names them.

    A layer that only changes the format computes none, and ``source`` is the node that it goes with.
    """
    name = str(layer.get("Name", ""))
    op = str(layer.get("LayerType", ""))
    origins = _ORIGIN.findall(str(layer.get("Metadata", ""))) or split_name(name)
    copies = op == "Reformat" or _COPIES.match(name) is not None
    inputs = [_read_tensor(tensor) for tensor in layer.get("Inputs", []) if isinstance(tensor, dict)]
    outputs = [_read_tensor(tensor) for tensor in layer.get("Outputs", []) if isinstance(tensor, dict)]
    numel = sum(math.prod(shape) for tensor in inputs for shape in tensor.values())
    return {
        "name": name,
        "op": op or ("Reformat" if copies else "Layer"),
        "layers": [] if copies else origins,
        "source": origins[0] if copies and origins else None,
        "inputs": inputs,
        "outputs": outputs,
        "activation_bytes": numel * item_bytes(inputs),
    }


def split_name(name: str) -> list[str]:
    """The nodes in a layer's name: ``/conv1/Conv + PWN(/act/Sigmoid)`` are two."""
    parts = (part.strip() for part in _BETWEEN.split(_COPIES.sub("", name)))
    return [part[len(_NAMELESS) :] if part.startswith(_NAMELESS) else part for part in parts if part]


def item_bytes(tensors: list[dict[str, list[int]]]) -> int:
    """Bytes of one element of the first tensor; 1 where there is none, or its type is of a byte or less or unknown."""
    return _BYTES.get(next(iter(tensors[0])), 1) if tensors else 1


def main_type(layers: list[dict[str, Any]]) -> str | None:
    """The precision that most elements written by computing layers have; None where the engine tells none."""
    written: dict[str, int] = {}
    for layer in map(describe_layer, layers):
        for tensor in layer["outputs"] if layer["layers"] else []:
            for kind, shape in tensor.items():
                written[kind] = written.get(kind, 0) + math.prod(shape)
    main = max(written, key=lambda kind: written[kind], default=None)
    return None if main is None else _PRECISIONS.get(main, main)


def types_of(layers: list[dict[str, Any]]) -> set[str]:
    """Every precision, or other type, that a layer reads or writes."""
    described = map(describe_layer, layers)
    tensors = (tensor for layer in described for tensor in (*layer["inputs"], *layer["outputs"]))
    return {_PRECISIONS.get(kind, kind) for tensor in tensors for kind in tensor}


def check_precision(layers: list[dict[str, Any]], wanted: str, typing: str) -> str | None:
    """What most of the engine computes in, such as ``fp16 (weak typing)``; None where it tells no types.

    With strong typing a file without the profile's precision is refused, since TensorRT runs it as it is and says
    nothing. With weak typing TensorRT may choose another, and that is what is told.
    """
    types = types_of(layers)
    if typing == "strong" and types and wanted not in types:
        found = " and ".join(sorted(types))
        raise RefusedError("input", f"it runs in {found}, the profile's 'precision' is {wanted}; export it in {wanted}")
    main = main_type(layers)
    return None if main is None else f"{main} ({typing} typing)"


def _read_tensor(tensor: dict[str, Any]) -> dict[str, list[int]]:
    """``{"float16": [1, 3, 8, 8]}``."""
    text = " ".join(str(tensor[key]) for key in _TYPE_KEYS if key in tensor)
    kind = next((name for pattern, name in _TYPES if pattern.search(text)), "unknown")
    return {kind: [int(size) for size in tensor.get("Dimensions", [])]}


def _load(path: Path) -> list[Any]:
    content = _parse(read_file(path), path.name)
    if not isinstance(content, list):
        raise RefusedError("failed", f"{path.name} of trtexec is no list")
    return content


def _parse(text: str, name: str) -> Any:
    """JSON, but for shares of a total of 0, which C++ writes as ``nan``."""
    try:
        return json.loads(re.sub(r":\s*-?(nan|inf)\b", ": null", text))
    except ValueError as error:
        raise RefusedError("failed", f"{name} of trtexec cannot be read ({error})") from error
