"""Measure what could be deployed instead of a pruned model: each paired with the dense model, on the same device."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from rich.progress import Progress
from torch import Tensor, nn

from deploy_prune.errors import DeployPruneError, ExportError, InputError
from deploy_prune.export.int8 import has_products, quantise_dynamic, quantise_static
from deploy_prune.export.kernels import count_kernels
from deploy_prune.hardware.profile import HardwareProfile
from deploy_prune.pipeline.latency_budget import Budget
from deploy_prune.pipeline.precise_export import VARIANT_INPUTS, precise_export
from deploy_prune.report.alternatives import Alternative, Kind
from deploy_prune.runtime.comparison import Comparison
from deploy_prune.runtime.measure import compare, profile_nodes
from deploy_prune.tasks.task import Task

SHARES = (0.75, 0.5)
"""Sides of the lower resolutions, as a share of the dense model's."""
INT8_IMAGES = 16
"""Training images that activations are calibrated on."""
MAX_SMALLER = 2
"""The nearest smaller networks that are tried."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """Another model for the same purpose.

    Attributes:
        name: as the table shows it.
        kind: of alternative.
        write: writes its ONNX file to a path and returns that.
        evaluate: the task's metric of that file; None where it would say nothing.
        note: what the model is and what it is not.
    """

    name: str
    kind: Kind
    write: Callable[[Path], Path]
    evaluate: Callable[[Path], float] | None
    note: str


def measure_alternatives(
    candidates: Iterable[Candidate],
    dense: Path,
    profile: HardwareProfile,
    budget: Budget,
    folder: Path,
    progress: Progress | None = None,
) -> tuple[Alternative, ...]:
    """Each candidate against the dense file by turns, with its metric; one that cannot be made or run is left out.

    Args:
        candidates: what to measure.
        dense: ONNX file of the dense model.
        profile: conditions; inputs may differ in size.
        budget: what they are judged against.
        folder: for their files.
        progress: shows which one is under way.
    """
    found = []
    for number, candidate in enumerate(candidates):
        bar = progress.add_task(f"measure {candidate.name}", total=None) if progress else None
        try:
            found.append(_measure(candidate, dense, profile, budget, folder / f"alternative-{number}.onnx"))
        except (ExportError, InputError) as error:
            if progress:
                progress.console.print(f"left out: {candidate.name}: {error}", markup=False, soft_wrap=True)
        if progress and bar is not None:
            progress.remove_task(bar)
    return tuple(found)


def as_alternative(
    name: str, kind: Kind, compared: Comparison, budget: Budget, metric: float | None, note: str
) -> Alternative:
    """What a comparison with the dense model says of a candidate at a budget."""
    dense_s = compared.baseline.median_s
    latency_s = dense_s / compared.speedup
    met = latency_s <= budget.in_seconds(dense_s)
    return Alternative(name, kind, 1e3 * latency_s, compared.speedup, compared.low, compared.high, met, metric, note)


def lower_resolutions(task: Task, model: nn.Module, profile: HardwareProfile) -> list[Candidate]:
    """The dense model with the weights that it has, at lower input sizes."""
    smaller = [one for share in SHARES if (one := task.at_share(share)) is not None]
    by_side = {one.example_inputs().shape[-1]: one for one in smaller}
    return [
        Candidate(
            f"dense at {side} pixels",
            "resolution",
            _writer(one, model, profile),
            lambda file, one=one: one.evaluate(file).value,  # type: ignore[misc]
            "the dense weights as they are, not trained at this size",
        )
        for side, one in by_side.items()
    ]


def smaller_networks(task: Task, profile: HardwareProfile) -> list[Candidate]:
    """Smaller networks of the same family, as their library makes them."""
    note = "untrained here: its latency only"
    nearest = list(task.smaller().items())[:MAX_SMALLER]
    return [Candidate(name, "smaller", _writer(task, build(), profile), None, note) for name, build in nearest]


def int8_versions(dense: Path, inputs: Tensor, evaluate: Callable[[Path], float] | None) -> list[Candidate]:
    """The dense file in INT8: static, calibrated on ``inputs`` (n, ...), and dynamic where it has matrix products."""
    static = f"weights per channel, activations from {len(inputs)} inputs"
    found = [Candidate("dense, INT8 static", "int8", lambda to: quantise_static(dense, to, inputs), evaluate, static)]
    if has_products(dense):
        note = "matrix products only"
        found.append(Candidate("dense, INT8 dynamic", "int8", lambda to: quantise_dynamic(dense, to), evaluate, note))
    return found


def _measure(candidate: Candidate, dense: Path, profile: HardwareProfile, budget: Budget, file: Path) -> Alternative:
    written = candidate.write(file)
    try:
        compared = compare(dense, written, profile, across_inputs=True)
        note = candidate.note
        if candidate.kind == "int8" and profile.engine == "onnxruntime":
            note = f"{count_kernels(node.op for node in profile_nodes(written, profile).nodes)}; {note}"
        metric = None if candidate.evaluate is None else candidate.evaluate(written)
    except DeployPruneError as error:
        raise InputError(str(error)) from error
    finally:
        file.unlink(missing_ok=True)
    return as_alternative(candidate.name, candidate.kind, compared, budget, metric, note)


def _writer(task: Task, model: nn.Module, profile: HardwareProfile) -> Callable[[Path], Path]:
    export = precise_export(task.export_onnx, profile, lambda: task.calibration_inputs(VARIANT_INPUTS))
    return lambda path: export(model, path)
