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

HEADINGS = ("model", "median", "p90", "p99", "IQR", "n", "speed-up", "95 % interval", "verdict")


@dataclasses.dataclass(frozen=True)
class BenchEntry:
    """One model; ``speedup`` is over the first model, by a paired comparison, None for that model itself."""

    model: str
    latency_ms: LatencySummary
    speedup: Speedup | None


@dataclasses.dataclass(frozen=True)
class BenchResult:
    """All models, measured under the same conditions; ``disturbances`` says what else the machine did."""

    profile: str
    conditions: Mapping[str, Any]
    entries: tuple[BenchEntry, ...]
    disturbances: tuple[str, ...] = ()

    def to_json(self) -> str:
        """Everything, times in milliseconds."""
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"

    def to_markdown(self) -> str:
        """The table, and the conditions as a line below it."""
        lines = [HEADINGS, ("---",) + ("---:",) * 7 + ("---",), *map(_cells, self.entries)]
        return "\n".join(f"| {' | '.join(line)} |" for line in lines) + f"\n\n{self.conditions_line()}\n"

    def to_csv(self) -> str:
        """One line per model, times in milliseconds as plain numbers."""
        out = io.StringIO()
        columns = ("median_ms", "p90_ms", "p99_ms", "iqr_ms", "n", "speedup", "low", "high", "verdict")
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(("model", *columns, "profile"))
        for entry in self.entries:
            ratio = dataclasses.astuple(entry.speedup) if entry.speedup else ("", "", "", "")
            writer.writerow((entry.model, *dataclasses.astuple(entry.latency_ms), *ratio, self.profile))
        return out.getvalue()

    def to_table(self) -> Table:
        """The table for the terminal."""
        table = Table(caption=self.conditions_line(), caption_justify="left")
        for heading in HEADINGS:
            table.add_column(heading, justify="left" if heading in ("model", "verdict") else "right")
        for entry in self.entries:
            table.add_row(*_cells(entry))
        return table

    def conditions_line(self) -> str:
        """The conditions that have a value in one line, and what disturbed the measurement, if anything."""
        settings = {key: value for key, value in self.conditions.items() if not key.startswith("contention")}
        line = ", ".join(f"{key} {value}" for key, value in settings.items() if value not in (None, ""))
        return line + "".join(f"\nDisturbed: {reason}." for reason in self.disturbances)


def _cells(entry: BenchEntry) -> tuple[str, ...]:
    latency, speedup = entry.latency_ms, entry.speedup
    times = (figures.milliseconds(time) for time in (latency.median, latency.p90, latency.p99, latency.iqr))
    compared = ("1 (baseline)", "", "")
    if speedup:
        interval = f"{speedup.low:.2f} to {speedup.high:.2f}"
        compared = (figures.ratio(speedup.value), interval, speedup.verdict)
    return (entry.model, *times, str(latency.n), *compared)
