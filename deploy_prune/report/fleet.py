"""Models pruned to budgets on several devices, as one table: terminal, Markdown, CSV and JSON."""

import csv
import dataclasses
import io
import json
from typing import Any, Final

from rich import box
from rich.table import Table

from deploy_prune.report import figures
from deploy_prune.report.front import Front, FrontPoint, FurtherLatency
from deploy_prune.report.front_table import MEANING
from deploy_prune.report.markdown import table
from deploy_prune.report.result import MetricValue, ProfileName, Speedup

SCHEMA: Final = 1  # raised whenever a key of fleet.json changes its name or meaning
HEADINGS = (
    "device", "profile", "precision", "model", "budget", "dense", "allowed", "latency", "95 % interval", "of budget",
    "speed-up", "fewer MACs", "efficiency", "cost", "met", "measured (UTC)",
)  # fmt: skip
_WIDE = {"device", "precision", "dense", "95 % interval", "measured (UTC)"}  # left out on a narrow terminal
_WIDE_COLUMNS = 190
_LEFT = {"device", "profile", "precision", "model", "budget", "met"}
NO_RATIO = "Speed-ups are over the dense model of the same row, by turns; times of different devices make no ratio."


@dataclasses.dataclass(frozen=True)
class FleetDevice:
    """Where a row was measured: the processor, the machine's fingerprint, the profile with its engine and precision."""

    processor: str
    fingerprint: str
    profile: str
    engine: str
    precision: str

    @classmethod
    def of(cls, profile: ProfileName, conditions: dict[str, Any]) -> "FleetDevice":
        """From what a front says of a device."""
        said = {name: conditions.get(name) or "" for name in ("processor", "engine", "engine_version", "precision")}
        engine = f"{said['engine']} {said['engine_version']}".strip()
        return cls(str(said["processor"]), profile.fingerprint, profile.name, engine, str(said["precision"]))


@dataclasses.dataclass(frozen=True)
class FleetFigures:
    """What a pruned model takes on a device, and what it cost.

    Times are the dense model's median there divided by the paired speed-up and the ends of its 95 % interval.
    ``mac_reduction`` is no speed-up; ``speed_efficiency`` is ``speedup.value / mac_reduction``. ``loss`` is as the
    row's ``loss_name`` says, ``metric`` the finetuned network's score where a recipe was run.
    """

    latency_ms: float
    low_ms: float
    high_ms: float
    speedup: Speedup
    mac_reduction: float
    speed_efficiency: float
    params: int
    loss: float
    metric: MetricValue | None


@dataclasses.dataclass(frozen=True)
class FleetRow:
    """One model at one budget on one device.

    ``pruned`` is None where no widths keep the budget; ``reason`` then says why. ``measured_at`` is ISO 8601 in
    UTC; ``folder`` holds the model.
    """

    device: FleetDevice
    model: str
    budget: str
    budget_ms: float
    dense_ms: float
    pruned: FleetFigures | None
    loss_name: str
    met: bool
    reason: str
    measured_at: str
    folder: str


_NAMES = tuple(field.name for field in dataclasses.fields(FleetFigures))
_FIGURE_FIELDS = tuple(name for name in _NAMES if name not in ("speedup", "metric"))
_DEVICE_FIELDS = tuple(field.name for field in dataclasses.fields(FleetDevice))
_ROW_FIELDS = tuple(field.name for field in dataclasses.fields(FleetRow) if field.name not in ("device", "pruned"))
_RATIO_FIELDS = ("speedup", "low", "high", "verdict", "metric_name", "metric")


@dataclasses.dataclass(frozen=True)
class FailedJob:
    """A job that ended without a result, and why, in one line."""

    name: str
    problem: str


@dataclasses.dataclass(frozen=True)
class Fleet:
    """All rows of a sweep in its order, those of jobs that are not done left out, and the jobs that failed."""

    rows: tuple[FleetRow, ...]
    failed: tuple[FailedJob, ...] = ()

    @property
    def met(self) -> bool:
        """Whether every job has a result that keeps its budget."""
        return not self.failed and all(row.met for row in self.rows)

    def to_json(self) -> str:
        """The text of fleet.json; times in milliseconds."""
        return json.dumps({"schema": SCHEMA, **dataclasses.asdict(self)}, indent=2) + "\n"

    def to_csv(self) -> str:
        """One line per row, plain numbers; what is unknown is empty."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow((*_DEVICE_FIELDS, *_ROW_FIELDS, *_FIGURE_FIELDS, *_RATIO_FIELDS))
        for row in self.rows:
            asked = (getattr(row, name) for name in _ROW_FIELDS)
            writer.writerow((*dataclasses.astuple(row.device), *asked, *_csv_figures(row.pruned)))
        return out.getvalue()

    def to_markdown(self) -> str:
        """The table and what to know about it."""
        return f"{table(HEADINGS, map(_cells, self.rows))}\n\n" + "\n\n".join(self.notes()) + "\n"

    def to_table(self, columns: int = _WIDE_COLUMNS) -> Table:
        """The table for a terminal of so many columns; a narrow one gets fewer figures."""
        shown = [k for k, heading in enumerate(HEADINGS) if columns >= _WIDE_COLUMNS or heading not in _WIDE]
        made = Table(box=box.SIMPLE_HEAD, pad_edge=False, caption="\n".join(self.notes()), caption_justify="left")
        for k in shown:
            made.add_column(HEADINGS[k], justify="left" if HEADINGS[k] in _LEFT else "right")
        for cells in map(_cells, self.rows):
            made.add_row(*(cells[k] for k in shown))
        return made

    def notes(self) -> list[str]:
        """What failed or is out of reach, and what the columns mean."""
        failed = [f"Failed: {job.name}: {job.problem}" for job in self.failed]
        reasons = [
            f"{row.model} at {row.budget} on {row.device.profile}: {row.reason}" for row in self.rows if not row.pruned
        ]
        losses = [
            f"Loss: {name}."
            for name in dict.fromkeys(r.loss_name for r in self.rows if r.pruned and not r.pruned.metric)
        ]
        return [*failed, *dict.fromkeys(reasons), MEANING, NO_RATIO, *losses]


def fleet_rows(front: Front, model: str, folder: str) -> tuple[FleetRow, ...]:
    """The rows of a front: its budgets on its own device, then on each further one.

    Args:
        front: of one model.
        model: what the table calls the model.
        folder: where the front's budgets have their folders.
    """
    rows = [_own_row(front, point, model, folder) for point in front.points]
    for k, device in enumerate(front.also):
        for row, point in zip(rows[: len(front.points)], front.points, strict=True):
            there = dataclasses.replace(
                row, device=FleetDevice.of(device.profile, device.conditions), dense_ms=device.dense_ms
            )
            rows.append(_further_row(there, point.also[k] if point.also else None))
    return tuple(rows)


def _own_row(front: Front, point: FrontPoint, model: str, folder: str) -> FleetRow:
    pruned = point.pruned
    return FleetRow(
        device=FleetDevice.of(front.profile, front.conditions),
        model=model,
        budget=point.asked,
        budget_ms=point.budget_ms,
        dense_ms=front.dense.latency_ms.median,
        pruned=None if pruned is None else FleetFigures(**{name: getattr(pruned, name) for name in _NAMES}),
        loss_name=front.loss_name,
        met=point.met_here,
        reason=point.reason,
        measured_at=point.measured_at,
        folder=f"{folder}/{point.folder}" if point.folder else "",
    )


def _further_row(row: FleetRow, found: FurtherLatency | None) -> FleetRow:
    """The row of a device, with what was measured there."""
    if found is None or row.pruned is None:
        return dataclasses.replace(row, budget_ms=_scaled_budget_ms(row))
    return dataclasses.replace(
        row,
        budget_ms=found.budget_ms,
        met=found.met,
        pruned=dataclasses.replace(
            row.pruned,
            latency_ms=found.latency_ms,
            low_ms=found.low_ms,
            high_ms=found.high_ms,
            speedup=found.speedup,
            speed_efficiency=found.speedup.value / row.pruned.mac_reduction,
        ),
    )


def _scaled_budget_ms(row: FleetRow) -> float:
    """What a budget such as ``2x`` allows where the dense model takes ``row.dense_ms``; one in ms allows as much."""
    return row.dense_ms / float(row.budget[:-1]) if row.budget.endswith("x") else row.budget_ms


def _csv_figures(found: FleetFigures | None) -> tuple[object, ...]:
    """The columns of a row's figures, empty where there are none."""
    if found is None:
        return ("",) * (len(_FIGURE_FIELDS) + len(_RATIO_FIELDS))
    metric = ("", "") if found.metric is None else dataclasses.astuple(found.metric)
    return (*(getattr(found, name) for name in _FIGURE_FIELDS), *dataclasses.astuple(found.speedup), *metric)


def _cells(row: FleetRow) -> tuple[str, ...]:
    where = (row.device.processor, row.device.profile, row.device.precision, row.model, row.budget)
    times = (figures.milliseconds(row.dense_ms), figures.milliseconds(row.budget_ms))
    when = row.measured_at.removesuffix("+00:00").replace("T", " ")
    found = row.pruned
    if found is None:
        return (*where, *times, "unreachable", *[""] * 6, "NO", when)
    cost = f"loss {found.loss:.3g}" if found.metric is None else f"{found.metric.name} {found.metric.value:.4f}"
    return (
        *where,
        *times,
        figures.milliseconds(found.latency_ms),
        f"{found.low_ms:.2f} to {found.high_ms:.2f}",
        f"{found.latency_ms / row.budget_ms:.1%}",
        figures.ratio(found.speedup.value),
        figures.ratio(found.mac_reduction),
        f"{found.speed_efficiency:.2f}",
        cost,
        "yes" if row.met else "NO",
        when,
    )
