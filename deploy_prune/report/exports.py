"""The files of a delivery: what each weighs, what it lost, how fast it is, and what to think of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from deploy_prune.report import figures
from deploy_prune.report.markdown import table

HEADINGS = ("format", "precision", "file", "MiB", "off PyTorch", "metric", "latency", "over FP32", "remarks")
MIN_SHARE = 0.99
"""An INT8 file that keeps less of FP32's metric than this is said to cost too much: the milder of the two bounds of
MLPerf Inference's closed division (its Submission Guidelines: "accuracy within 99% or 99.9%")."""
AGREEMENT = 0.005
"""By how much the metric of any other file may differ from PyTorch's before that is said."""


@dataclasses.dataclass(frozen=True)
class ExportedFile:
    """One file.

    ``path`` is that of the file that is opened, relative to the folder; ``size_bytes`` counts its weights' file too and
    ``sha256`` is each file's. ``difference`` is the largest from PyTorch as a share of its output channel's size,
    ``metric`` the task's (None: nothing judges it). ``latency_ms`` and, of other precisions than FP32, ``speedup`` with
    its 95 % interval over the FP32 file of the same format are from one paired comparison under ``profile``; None where
    no engine times the format. ``how`` says how it was made, ``kernels`` which kernels of it are integer ones.
    """

    format: str
    precision: str
    path: str
    size_bytes: int
    sha256: dict[str, str]
    difference: float
    metric: float | None
    how: str = ""
    kernels: str = ""
    profile: str | None = None
    latency_ms: float | None = None
    speedup: float | None = None
    low: float | None = None
    high: float | None = None
    verdict: str | None = None
    untimed: str = ""


def remarks(one: ExportedFile, files: Sequence[ExportedFile]) -> list[str]:
    """What a reader should know of a file, in words."""
    found = [text for text in (one.how, one.kernels, one.untimed) if text]
    if one.precision == "fp32":
        return found
    float_one = next((f for f in files if (f.format, f.precision) == (one.format, "fp32")), None)
    if one.verdict == "slower":
        found.append(f"SLOWER than FP32 here: {one.precision} gains nothing on this machine")
    elif one.verdict in ("same", "ambiguous"):
        found.append("not faster than FP32 as far as can be told")
    if float_one is None or one.metric is None or float_one.metric is None:
        return found
    lost = float_one.metric - one.metric
    if one.precision == "int8":
        cost = f"costs {100 * lost:.1f} points" if lost >= 0 else f"gains {-100 * lost:.1f} points"
        enough = one.metric >= MIN_SHARE * float_one.metric
        found.append(cost if enough else f"{cost}: TOO MUCH, less than {MIN_SHARE:.0%} of FP32's metric is left")
    elif abs(lost) > AGREEMENT:
        found.append(f"its metric differs from FP32's by {100 * abs(lost):.1f} points")
    return found


def export_rows(files: Sequence[ExportedFile]) -> list[tuple[str, ...]]:
    """The table's rows."""
    return [
        (
            one.format,
            one.precision,
            one.path,
            f"{one.size_bytes / 2**20:.2f}",
            f"{one.difference:.1e}",
            "not judged" if one.metric is None else f"{one.metric:.4f}",
            "not timed" if one.latency_ms is None else figures.milliseconds(one.latency_ms),
            "" if one.speedup is None else f"{figures.ratio(one.speedup)} [{one.low:.2f}, {one.high:.2f}]",
            "; ".join(remarks(one, files)),
        )
        for one in files
    ]


def exports_markdown(files: Sequence[ExportedFile], metric_name: str | None) -> str:
    """The table and what its columns are."""
    metric = f"*metric* is {metric_name} on the validation data" if metric_name else "nothing judges the outputs"
    timed = sorted({one.profile for one in files if one.profile})
    times = f"latencies are under {', '.join(timed)}" if timed else "none was timed"
    note = (
        "*off PyTorch* is the largest difference from the PyTorch module, as a share of its output channel's size; "
        f"{metric}; {times}, each precision paired with the FP32 file of its format. Latencies of different engines "
        "were not taken by turns."
    )
    return f"{table(HEADINGS, export_rows(files))}\n\n{note}"


def from_row(row: Mapping[str, Any]) -> ExportedFile:
    """The inverse of :func:`as_row`."""
    return ExportedFile(**{name: value for name, value in row.items() if name != "remarks"})


def as_row(one: ExportedFile, files: Sequence[ExportedFile]) -> dict[str, Any]:
    """Everything about a file, for JSON."""
    return {**dataclasses.asdict(one), "remarks": remarks(one, files)}


def exports_table(files: Sequence[ExportedFile]) -> Table:
    """The same for the terminal."""
    shown = Table(*HEADINGS)
    for row in export_rows(files):
        shown.add_row(*row)
    return shown
