"""What `deploy-prune bench` measured, as a table, Markdown, CSV or JSON."""

import csv
import dataclasses
import io
import json
from collections.abc import Mapping
from typing import Any

from rich.table import Table

from deploy_prune.report import figures
from deploy_prune.report.result import LatencySummary, Speedup

HEADINGS = ("profile", "model", "median", "p90", "p99", "IQR", "n", "speed-up", "95 % interval", "verdict")
_TEXTS = ("profile", "model", "verdict")
NO_RATIO = (
    "Speed-ups are over the first model of the same profile, by turns. "
    "Times of different profiles were taken under different conditions and make no ratio."
)


@dataclasses.dataclass(frozen=True)
class BenchEntry:
    """One model under one profile; ``speedup`` is over the profile's first model, None for that model itself.

    ``samples_ms`` are the raw runs behind ``latency_ms``; ``stop_reason`` says why there are no more.
    """

    model: str
    latency_ms: LatencySummary
    speedup: Speedup | None
    stop_reason: str
    samples_ms: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class ProfileResult:
    """All models measured under one profile.

    ``noise_floor``: how far from 1 the first model against itself reached, as a share; None without a null test.
    ``disturbances`` says what else the machine did meanwhile.
    """

    profile: str
    conditions: Mapping[str, Any]
    entries: tuple[BenchEntry, ...]
    noise_floor: float | None
    disturbances: tuple[str, ...]

    def conditions_line(self) -> str:
        """The conditions that have a value in one line, the noise floor, and what disturbed the measurement, if any."""
        said = ("profile", "contention")  # before the line, and behind it
        settings = {key: value for key, value in self.conditions.items() if not key.startswith(said)}
        line = ", ".join(f"{key} {value}" for key, value in settings.items() if value not in (None, ""))
        if self.noise_floor is not None:
            line += f"\nNoise floor: {self.noise_floor:.1%}, the first model against itself."
        line += self._readings_line()
        return line + "".join(f"\nDisturbed: {reason}." for reason in self.disturbances)

    def _readings_line(self) -> str:
        """Temperature, power and clock during the measurement, where the machine says them."""
        readings = []
        for name, unit, scale, digits in (
            ("temperature_c", "°C", 1, 0),
            ("power_w", "W", 1, 1),
            ("frequency_hz", "GHz", 1e9, 2),
        ):
            low, high = self.conditions.get(f"contention.{name}") or (None, None)
            if low is not None and high is not None:
                readings.append(f"{low / scale:.{digits}f} to {high / scale:.{digits}f} {unit}")
        return f"\nMeanwhile: {', '.join(readings)}." if readings else ""


@dataclasses.dataclass(frozen=True)
class BenchResult:
    """Everything that one call measured, in the order of its profiles."""

    profiles: tuple[ProfileResult, ...]

    def to_json(self) -> str:
        """Everything, times in milliseconds."""
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"

    def to_markdown(self) -> str:
        """The table, and the conditions of each profile as a paragraph below it."""
        rule = tuple("---" if heading in _TEXTS else "---:" for heading in HEADINGS)
        lines = [HEADINGS, rule, *self._rows()]
        table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        return f"{table}\n\n" + "\n\n".join(self.notes()) + "\n"

    def to_csv(self) -> str:
        """One line per model and profile, times in milliseconds as plain numbers."""
        out = io.StringIO()
        columns = ("median_ms", "p90_ms", "p99_ms", "iqr_ms", "n", "speedup", "low", "high", "verdict")
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(("profile", "model", *columns, "disturbances"))
        for result in self.profiles:
            for entry in result.entries:
                ratio = dataclasses.astuple(entry.speedup) if entry.speedup else ("", "", "", "")
                figures_ms = dataclasses.astuple(entry.latency_ms)
                writer.writerow((result.profile, entry.model, *figures_ms, *ratio, "; ".join(result.disturbances)))
        return out.getvalue()

    def to_table(self) -> Table:
        """The table for the terminal."""
        table = Table(caption="\n".join(self.notes()), caption_justify="left")
        for heading in HEADINGS:
            table.add_column(heading, justify="left" if heading in _TEXTS else "right")
        for row in self._rows():
            table.add_row(*row)
        return table

    def notes(self) -> list[str]:
        """What to know about the table: the conditions of every profile, and what is not compared."""
        conditions = [f"{result.profile}: {result.conditions_line()}" for result in self.profiles]
        return conditions if len(self.profiles) == 1 else [*conditions, NO_RATIO]

    def _rows(self) -> list[tuple[str, ...]]:
        return [(result.profile, *_cells(entry)) for result in self.profiles for entry in result.entries]


def _cells(entry: BenchEntry) -> tuple[str, ...]:
    latency, speedup = entry.latency_ms, entry.speedup
    times = (figures.milliseconds(time) for time in (latency.median, latency.p90, latency.p99, latency.iqr))
    compared = ("1 (baseline)", "", "")
    if speedup:
        interval = f"{speedup.low:.2f} to {speedup.high:.2f}"
        compared = (figures.ratio(speedup.value), interval, speedup.verdict)
    return (entry.model, *times, str(latency.n), *compared)
