"""Deliver a network in several formats and precisions: write each file, prove it, judge it and time it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import Progress
from torch import Tensor, nn

from deploy_prune.export.formats import FORMATS, Format, Source, files_of
from deploy_prune.export.kernels import read_kernels
from deploy_prune.export.nms import append_nms
from deploy_prune.export.openvino import read_ir_kernels
from deploy_prune.export.parity import TOLERANCE, check_parity
from deploy_prune.hardware.availability import find_obstacles
from deploy_prune.hardware.profile import HardwareProfile
from deploy_prune.pipeline.device import write_json
from deploy_prune.pipeline.export_request import ExportRequest
from deploy_prune.pipeline.precise_export import find_scheme
from deploy_prune.pipeline.settings import require_packages
from deploy_prune.report.exports import ExportedFile, as_row, exports_markdown, from_row
from deploy_prune.runtime.hosts import find_host
from deploy_prune.runtime.measure import compare, measure

EXPORTS = "exports.json"


@dataclass(frozen=True, eq=False)
class ExportSubject:
    """What is delivered.

    Attributes:
        name: of the files.
        model: the network.
        inputs: real ones (n, ...) on which files are compared with it; one at least.
        export: ``export(model, path, dynamic=..., simplify=...)`` writes its ONNX file.
        profile: the device; formats that its engine does not read are timed by their own engine on the same machine.
        calibration: real inputs (n, ...) for INT8.
        judge: the task's metric of a file; None: there is none.
        metric_name: what that is.
        classifies: whether INT8 of the last layer is tried too.
    """

    name: str
    model: nn.Module
    inputs: Tensor
    export: Callable[..., Path]
    profile: HardwareProfile
    calibration: Tensor | None = None
    judge: Callable[[Path], float] | None = None
    metric_name: str | None = None
    classifies: bool = False

    def source(self, request: ExportRequest, folder: Path) -> Source:
        """The ONNX files that all others are made from."""
        fixed = self.export(self.model, folder / "fixed.onnx", simplify=request.simplify)
        onnx = fixed
        if request.dynamic and "onnx" in request.formats:
            onnx = self.export(self.model, folder / "open.onnx", simplify=request.simplify, dynamic=True)
        scheme = find_scheme(self.profile)
        return Source(
            self.model, self.inputs[:1], fixed, onnx, self.calibration, self.judge, scheme, self.classifies
        )  # fmt: skip


def export_files(
    subject: ExportSubject, request: ExportRequest, folder: Path, progress: Progress | None = None
) -> tuple[ExportedFile, ...]:
    """Write the files into ``folder``, with ``exports.json`` and ``exports.md`` after each of them.

    A file that an earlier call for the same network and request has finished, before it was ended, is not made again.

    Raises:
        InputError, ExportError, MissingDependencyError, MeasurementError: see their classes.
    """
    require_packages(request.packages)
    with tempfile.TemporaryDirectory(prefix="deploy-prune-") as scratch:
        source = subject.source(request, Path(scratch))
        keys = {"key": _key(source, request, subject), "calibration": _calibration_key(source)}
        found = _read_finished(folder, keys)
        for name, precision in request.pairs:
            if (name, precision) in found:
                continue
            bar = progress.add_task(f"export {name} {precision}", total=None) if progress else None
            dense = found.get((name, "fp32"))
            found[name, precision] = _export_one(subject, request, source, folder, (name, precision), dense)
            _write_tables(subject, keys, tuple(found.values()), folder)
            if progress and bar is not None:
                progress.remove_task(bar)
    return tuple(found[pair] for pair in request.pairs)


def _export_one(
    subject: ExportSubject,
    request: ExportRequest,
    source: Source,
    folder: Path,
    pair: tuple[str, str],
    float_one: ExportedFile | None,
) -> ExportedFile:
    name, precision = pair
    made = FORMATS[name]
    path = folder / f"{subject.name}{'' if precision == 'fp32' else f'_{precision}'}{made.suffix}"
    how = made.writers[precision](source, path)
    tolerance = TOLERANCE if precision == "fp32" else float("inf")
    parity = check_parity(subject.model, path, subject.inputs, tolerance=tolerance)
    if name == "onnx" and request.nms:
        append_nms(path, path)
    kernels = ""
    if precision == "int8":
        kernels = str(read_kernels(path) if name == "onnx" else read_ir_kernels(path))
    files = files_of(path)
    return ExportedFile(
        format=name,
        precision=precision,
        path=path.name,
        size_bytes=sum(one.stat().st_size for one in files),
        sha256={one.name: hashlib.sha256(one.read_bytes()).hexdigest() for one in files},
        difference=parity.max_rel,
        metric=None if subject.judge is None else subject.judge(path),
        how=how,
        kernels=kernels,
        **_time(made, path, folder / float_one.path if float_one else None, subject),
    )


def _time(made: Format, path: Path, float_one: Path | None, subject: ExportSubject) -> dict[str, Any]:
    """The latency of a file, and its speed-up over the FP32 file of its format."""
    profile, obstacle = _profile_for(made, subject)
    if profile is None:
        return {"untimed": obstacle}
    if float_one is None or profile.engine == "tensorrt":  # which builds for one precision at a time
        return {"profile": profile.name, "latency_ms": 1e3 * measure(path, profile).median_s}
    compared = compare(float_one, path, profile)
    return {
        "profile": profile.name,
        "latency_ms": 1e3 * compared.candidate.median_s,
        "speedup": compared.speedup,
        "low": compared.low,
        "high": compared.high,
        "verdict": compared.verdict,
    }


def _profile_for(made: Format, subject: ExportSubject) -> tuple[HardwareProfile | None, str]:
    """The profile under which a format is timed, or why it is not."""
    own = subject.profile
    if own.host is not None and made.suffix == ".xml":
        return None, f"not timed: IR files are not sent to {own.host}"
    height_width = subject.inputs.shape[2:]  # for axes that are left open; OpenVINO knows them by position alone
    sizes = dict(zip(("height", "width", "axis 2", "axis 3"), (*height_width, *height_width), strict=False))
    if made.suffix in own.engine_facts.files:
        plain = "fp32" if own.engine == "onnxruntime" else own.precision  # it computes in what the file says
        return own.model_copy(update={"axes": {**sizes, **own.axes}, "precision": plain}), ""
    if made.engine is None:
        return None, "no engine here times it"
    shared = own.model_dump(include={"threads", "affinity", "host", "python", "environment", "measuring", "power"})
    mode = {"mode": "eager"} if made.engine == "torch" else {}
    about = {"name": f"{own.name}, by {made.engine}", "engine": made.engine, "axes": sizes, **mode, **shared}
    profile = HardwareProfile.model_validate(about)
    obstacles = find_obstacles(profile, host=find_host(profile))
    return (None, f"not timed: {obstacles[0]}") if obstacles else (profile, "")


def _key(source: Source, request: ExportRequest, subject: ExportSubject) -> str:
    """sha256 of what all files depend on; which formats and precisions are wanted does not count."""
    how = dataclasses.replace(request, formats=(), precisions=())
    digest = hashlib.sha256(repr((how, subject.name, subject.profile.model_dump_json())).encode())
    digest.update(source.fixed.read_bytes())
    return digest.hexdigest()


def _calibration_key(source: Source) -> str | None:
    """sha256 of what INT8 files depend on besides."""
    if source.calibration is None:
        return None
    return hashlib.sha256(np.ascontiguousarray(source.calibration.numpy()).tobytes()).hexdigest()


def _read_finished(folder: Path, keys: Mapping[str, str | None]) -> dict[tuple[str, str], ExportedFile]:
    """What an earlier call has finished, and whose files are still as they were."""
    try:
        content = json.loads((folder / EXPORTS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    found = {}
    for row in content["files"] if content.get("key") == keys["key"] else ():
        if row["precision"] == "int8" and content["calibration"] != keys["calibration"]:
            continue
        one = from_row(row)
        paths = {folder / name: digest for name, digest in one.sha256.items()}
        if all(p.is_file() and hashlib.sha256(p.read_bytes()).hexdigest() == d for p, d in paths.items()):
            found[one.format, one.precision] = one
    return found


def _write_tables(
    subject: ExportSubject, keys: Mapping[str, str | None], files: tuple[ExportedFile, ...], folder: Path
) -> None:
    write_json(folder / EXPORTS, {**keys, "files": [as_row(one, files) for one in files]})
    page = folder / ".exports.md.new"
    page.write_text(f"# {subject.name}\n\n{exports_markdown(files, subject.metric_name)}\n", encoding="utf-8")
    page.replace(folder / "exports.md")
