"""The result as one table: dense beside pruned, what was gained and what it cost."""

import dataclasses

from rich.table import Table

from deploy_prune.report import figures
from deploy_prune.report.result import Result


@dataclasses.dataclass(frozen=True)
class Row:
    """A line of the table; ``change`` is empty where nothing is claimed."""

    what: str
    dense: str
    pruned: str
    change: str = ""


def result_rows(result: Result) -> tuple[Row, ...]:
    """The table's lines. Only the paired comparison of latencies is called a speed-up."""
    dense, pruned, speedup = result.dense, result.pruned, result.speedup
    times = ("median", "p90", "p99", "iqr")
    labels = ("latency, median", "latency, p90", "latency, p99", "latency, IQR")
    interval = f"95 %: {speedup.low:.2f} to {speedup.high:.2f}, {speedup.verdict}"
    gained = (f"{figures.ratio(speedup.value)} speed-up", interval, "", "")
    return (
        *(
            Row(
                label,
                figures.milliseconds(getattr(dense.latency_ms, time)),
                figures.milliseconds(getattr(pruned.latency_ms, time)),
                change,
            )
            for label, time, change in zip(labels, times, gained, strict=True)
        ),
        Row("samples", str(dense.latency_ms.n), str(pruned.latency_ms.n)),
        Row(
            "MACs",
            figures.count(dense.macs),
            figures.count(pruned.macs),
            f"{figures.ratio(result.mac_reduction)} fewer",
        ),
        Row("parameters", figures.count(dense.params), figures.count(pruned.params)),
        Row("ONNX file", figures.size(dense.size_bytes), figures.size(pruned.size_bytes)),
        Row(
            f"{dense.metric.name}, ONNX file",
            f"{dense.metric.value:.4f}",
            f"{pruned.metric.value:.4f}",
            f"loss {result.metric_loss:+.4f}",
        ),
    )


def summary_lines(result: Result) -> tuple[str, ...]:
    """The sentences under the table: the budget, and how much of the saved arithmetic became saved time."""
    budget = result.budget
    asked = "" if budget.speedup is None else f" ({figures.ratio(budget.speedup)} speed-up asked for)"
    kept = "met" if budget.met else "NOT met"
    return (
        f"Budget {figures.milliseconds(budget.latency_ms)}{asked}: {kept}, "
        f"the pruned model takes {budget.share:.1%} of it.",
        *(
            f"Limit on {one.name}: {'kept' if one.kept else 'NOT kept'}, {figures.limit(one.amount)} of "
            f"{figures.limit(one.allowed)} {one.unit} allowed."
            for one in result.limits
        ),
        f"Speed efficiency {result.speed_efficiency:.2f} = {figures.ratio(result.speedup.value)} speed-up / "
        f"{figures.ratio(result.mac_reduction)} fewer MACs.",
        *(f"Disturbed while measuring: {disturbance}." for disturbance in result.disturbances),
    )


def result_table(result: Result) -> Table:
    """The table for the terminal."""
    table = Table(title=f"{result.model}, {result.task}, {result.profile.name}")
    for heading in ("", "dense", "pruned", "change"):
        table.add_column(heading, justify="right" if heading in ("dense", "pruned") else "left")
    for row in result_rows(result):
        table.add_row(row.what, row.dense, row.pruned, row.change)
    return table
