"""A front as a table: for the terminal, as Markdown, as CSV, and the page of one budget."""

import csv
import io
from collections.abc import Sequence

from rich import box
from rich.table import Table

from deploy_prune.report import figures
from deploy_prune.report.explained import floor_sections, model_sections, why_sections
from deploy_prune.report.front import Front, FrontPoint, FurtherLatency, PhaseTime
from deploy_prune.report.front_plots import BUDGET_PLOTS, FRONT_PLOTS
from deploy_prune.report.markdown import table
from deploy_prune.report.page import shown

_HEADINGS = (
    "budget", "allowed", "predicted", "measured", "95 % interval", "of budget", "speed-up", "fewer MACs", "efficiency",
    "parameters", "cost", "rounds", "time",
)  # fmt: skip
_WIDE = {"allowed", "predicted", "95 % interval", "parameters", "rounds"}  # left out on a narrow terminal
_WIDE_COLUMNS = 125
_CSV = (
    "asked", "budget_ms", "met", "predicted_ms", "measured_ms", "low_ms", "high_ms", "speedup", "speedup_low",
    "speedup_high", "mac_reduction", "speed_efficiency", "macs", "params", "size_bytes", "loss", "metric", "rounds",
    "duration_s", "fastest_ms", "reason",
)  # fmt: skip
MEANING = (
    "Measured: the dense model's latency divided by the paired speed-up. "
    "Efficiency: real speed-up / MAC reduction; a MAC reduction alone is no speed-up."
)


def front_table(front: Front, columns: int = _WIDE_COLUMNS) -> Table:
    """The table for a terminal of so many columns; a narrow one gets fewer figures."""
    table = Table(
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        title=f"{front.model} on {front.profile.name}",
        caption="\n".join(front_notes(front)),
        caption_justify="left",
    )
    shown_here = [k for k, heading in enumerate(_HEADINGS) if columns >= _WIDE_COLUMNS or heading not in _WIDE]
    for k in shown_here:
        table.add_column(_headings(front)[k], justify="left" if k == 0 else "right")
    for row in _rows(front):
        table.add_row(*(row[k] for k in shown_here))
    return table


def front_page(front: Front) -> str:
    """The text of front.md; the pictures lie beside it."""
    parts = [
        f"# {front.model} on {front.profile.name}: latency against {_headings(front)[10]}",
        table(_headings(front), _rows(front)),
        "  \n".join(front_notes(front)),
        *(f"![{title}]({name})" for name, title in FRONT_PLOTS.items()),
        "## Where the time went",
        _spent_table(front),
        "## Conditions",
        table(("condition", "value"), [(key, shown(value)) for key, value in front.conditions.items()]),
    ]
    return "\n\n".join(parts) + "\n"


def front_csv(front: Front) -> str:
    """One line per budget, times in milliseconds as plain numbers; what is unknown is empty."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(_CSV)
    for point in front.points:
        writer.writerow((point.asked, point.budget_ms, point.met, *_csv_figures(point), point.seconds,
                         "" if point.fastest_ms is None else point.fastest_ms, point.reason))  # fmt: skip
    return out.getvalue()


def budget_page(front_model: str, point: FrontPoint) -> str:
    """The text of one budget's report.md; the pictures lie beside it."""
    lines = [budget_line(point), *(further_line(point, one) for one in point.also)]
    parts = [f"# {front_model}, budget {point.asked}", "  \n".join(lines)]
    if point.pruned is not None:
        pruned = point.pruned
        rounds = [
            (str(number), *map(figures.milliseconds, (one.predicted_ms, one.measured_ms, one.budget_ms)))
            for number, one in enumerate(pruned.rounds, start=1)
        ]
        parts += [
            f"{figures.ratio(pruned.speedup.value)} speed-up (95 %: {pruned.speedup.low:.2f} to "
            f"{pruned.speedup.high:.2f}, {pruned.speedup.verdict}), {figures.ratio(pruned.mac_reduction)} fewer MACs, "
            f"speed efficiency {pruned.speed_efficiency:.2f}; {figures.count(pruned.params)} parameters, "
            f"ONNX file {figures.size(pruned.size_bytes)}.",
            *(f"![{title}]({name})" for name, (title, _) in BUDGET_PLOTS.items()),
            "## Every plan that was tried",
            table(("round", "predicted", "measured", "allowed"), rounds),
            "## Widths",
            table(("group", "dense", "kept"), [(w.name, str(w.dense), str(w.kept)) for w in pruned.widths]),
        ]
        if pruned.why is not None:
            parts += why_sections(pruned.why.explanation)
            parts += floor_sections(pruned.why.account.floor, pruned.why.advice)
            parts += model_sections(pruned.why.account.model, pruned.rounds)
    parts += ["## Where the time went", table(("phase", "seconds"), _phases(point.spent))]
    return "\n\n".join(parts) + "\n"


def further_lines(front: Front) -> list[str]:
    """A sentence per further device and budget that a plan was found for; none where there is no such device."""
    return [further_line(point, one) for point in front.points for one in point.also]


def further_line(point: FrontPoint, one: FurtherLatency) -> str:
    """Whether the plan of a budget keeps it on a further device too."""
    return (
        f"{point.asked} under {one.profile}: {'met' if one.met else 'NOT met'}, {figures.milliseconds(one.latency_ms)} "
        f"of {figures.milliseconds(one.budget_ms)} allowed ({one.share:.1%}), {figures.ratio(one.speedup.value)} "
        f"speed-up (95 %: {one.speedup.low:.2f} to {one.speedup.high:.2f}, {one.speedup.verdict})"
    )


def budget_line(point: FrontPoint) -> str:
    """Whether the budget is kept, in a sentence."""
    allowed = f"{figures.milliseconds(point.budget_ms)} allowed"
    if point.pruned is None:
        return f"{point.asked}, {allowed}: {point.reason}."
    kept = "met" if point.met_here else "NOT met"
    return (
        f"{point.asked}: {kept}, {figures.milliseconds(point.pruned.latency_ms)} of {allowed} ({point.share:.1%}), "
        f"{figures.ratio(point.pruned.speedup.value)} speed-up, {len(point.pruned.rounds)} rounds"
    )


def front_notes(front: Front) -> list[str]:
    """What to know about the table: what is out of reach, what the columns mean, what was spent."""
    unreachable = [budget_line(point) for point in front.points if point.pruned is None]
    shared = ", ".join(f"{one.phase} {one.duration_s:.0f} s" for one in front.spent)
    loss = [] if front.dense.metric else [f"Loss: {front.loss_name}."]
    return [
        *unreachable,
        *further_lines(front),
        MEANING,
        *loss,
        *([f"Once for all budgets: {shared}."] if shared else []),
    ]


def _headings(front: Front) -> tuple[str, ...]:
    cost = "loss" if front.dense.metric is None else front.dense.metric.name
    return tuple(cost if heading == "cost" else heading for heading in _HEADINGS)


def _rows(front: Front) -> list[tuple[str, ...]]:
    dense = front.dense
    cost = "0" if dense.metric is None else f"{dense.metric.value:.4f}"
    first = ("dense", "", "", figures.milliseconds(dense.latency_ms.median), "", "", "", "", "")
    return [(*first, figures.count(dense.params), cost, "", ""), *map(_row, front.points)]


def _row(point: FrontPoint) -> tuple[str, ...]:
    pruned, allowed, time = point.pruned, figures.milliseconds(point.budget_ms), f"{point.seconds:.0f} s"
    if pruned is None:
        reach = "" if point.fastest_ms is None else f"≥ {figures.milliseconds(point.fastest_ms)}"
        return (point.asked, allowed, reach, "unreachable", *[""] * 8, time)
    return (
        point.asked,
        allowed,
        figures.milliseconds(pruned.predicted_ms),
        figures.milliseconds(pruned.latency_ms),
        f"{pruned.low_ms:.2f} to {pruned.high_ms:.2f}",
        f"{point.share:.1%}" + ("" if point.met_here else " NOT met"),
        figures.ratio(pruned.speedup.value),
        figures.ratio(pruned.mac_reduction),
        f"{pruned.speed_efficiency:.2f}",
        figures.count(pruned.params),
        f"{pruned.loss:.3g}" if pruned.metric is None else f"{pruned.metric.value:.4f}",
        str(len(pruned.rounds)),
        time,
    )


def _csv_figures(point: FrontPoint) -> tuple[object, ...]:
    pruned = point.pruned
    if pruned is None:
        return ("",) * 15
    speedup = pruned.speedup
    return (
        *(pruned.predicted_ms, pruned.latency_ms, pruned.low_ms, pruned.high_ms),
        *(speedup.value, speedup.low, speedup.high, pruned.mac_reduction, pruned.speed_efficiency),
        *(pruned.macs, pruned.params, pruned.size_bytes, pruned.loss),
        *("" if pruned.metric is None else pruned.metric.value, len(pruned.rounds)),
    )


def _spent_table(front: Front) -> str:
    columns = [("once", front.spent), *((point.asked, point.spent) for point in front.points)]
    phases = list(dict.fromkeys(one.phase for _, spent in columns for one in spent))
    by_column = [{one.phase: one.duration_s for one in spent} for _, spent in columns]
    rows = [(phase, *(f"{times[phase]:.1f}" if phase in times else "" for times in by_column)) for phase in phases]
    total = ("all", *(f"{sum(times.values()):.1f}" for times in by_column))
    return table(("seconds", *(name for name, _ in columns)), [*rows, total])


def _phases(spent: Sequence[PhaseTime]) -> list[tuple[str, str]]:
    return [(one.phase, f"{one.duration_s:.1f}") for one in spent]
