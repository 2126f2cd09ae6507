"""The pictures of a front and of one of its budgets."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from deploy_prune.report import figures
from deploy_prune.report.front import Front, FrontPoint, PrunedPoint
from deploy_prune.report.plots import (
    DENSE,
    LIMIT,
    PRUNED,
    TEXT,
    Picture,
    draw_efficiency,
    draw_legend,
    draw_pictures,
    draw_rounds,
    draw_widths,
    height_of,
    label_axes,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FRONT_PLOTS = {"front.png": "Latency against what it costs", "efficiency.png": "Speed efficiency"}
BUDGET_PLOTS = {
    "efficiency.png": ("Speed-up beside MAC reduction", draw_efficiency),
    "rounds.png": ("Predicted against measured latency", draw_rounds),
    "widths.png": ("Channels kept per layer", draw_widths),
}


def draw_front_plots(front: Front, folder: Path) -> list[Path]:
    """Write the pictures of a front into ``folder``; raises as ``plots.draw_pictures`` does."""
    draws = {"front.png": draw_front, "efficiency.png": draw_efficiencies}
    pictures = {name: Picture(title, 4.5, partial(draws[name], front=front)) for name, title in FRONT_PLOTS.items()}
    return draw_pictures(pictures, folder)


def draw_budget_plots(pruned: PrunedPoint, folder: Path) -> list[Path]:
    """Write the pictures of one budget into ``folder``; raises as ``plots.draw_pictures`` does."""
    pictures = {
        name: Picture(title, height_of(name, pruned), partial(draw, result=pruned))
        for name, (title, draw) in BUDGET_PLOTS.items()
    }
    return draw_pictures(pictures, folder)


def draw_front(axes: "Axes", front: Front) -> None:
    """Latency, with its interval, against loss, or against the task's metric where that was measured."""
    metric = front.dense.metric
    dense_y = 0.0 if metric is None else metric.value
    reached = [(point, point.pruned) for point in front.points if point.pruned is not None]
    axes.scatter([front.dense.latency_ms.median], [dense_y], s=50, color=DENSE, zorder=3, label="dense")
    axes.annotate("dense", (front.dense.latency_ms.median, dense_y), textcoords="offset points", xytext=(7, 5),
                  fontsize=9, color=TEXT)  # fmt: skip
    heights = [pruned.loss if pruned.metric is None else pruned.metric.value for _, pruned in reached]
    times = [pruned.latency_ms for _, pruned in reached]
    line = [*times[::-1], front.dense.latency_ms.median], [*heights[::-1], dense_y]
    axes.plot(*line, color=PRUNED, linewidth=1, alpha=0.5)
    for (point, pruned), height in zip(reached, heights, strict=True):
        interval = [[max(pruned.latency_ms - pruned.low_ms, 0)], [max(pruned.high_ms - pruned.latency_ms, 0)]]
        axes.errorbar(pruned.latency_ms, height, xerr=interval, fmt="o", color=PRUNED, capsize=3)
        axes.annotate(point.asked, (pruned.latency_ms, height), textcoords="offset points", xytext=(7, 5),
                      fontsize=9, color=TEXT)  # fmt: skip
    _mark_budgets(axes, front.points)
    label_axes(
        axes, f"latency, ms, on {front.profile.name}", f"loss: {front.loss_name}" if metric is None else metric.name
    )
    axes.margins(x=0.1, y=0.15)
    axes.set_xlim(left=0)
    draw_legend(axes)


def draw_efficiencies(axes: "Axes", front: Front) -> None:
    """Real speed-up over MAC reduction of every budget; 1 is where all of the saved arithmetic became saved time."""
    reached = [(point, point.pruned) for point in front.points if point.pruned is not None]
    bars = [pruned.speed_efficiency for _, pruned in reached]
    axes.bar(range(len(bars)), bars, width=0.55, color=PRUNED)
    for column, (_, pruned) in enumerate(reached):
        words = f"{figures.ratio(pruned.speedup.value)} / {figures.ratio(pruned.mac_reduction)}"
        top = (column, pruned.speed_efficiency)
        axes.annotate(f"{pruned.speed_efficiency:.2f}\n{words}", top, ha="center", va="top",
                      textcoords="offset points", xytext=(0, -5), fontsize=9, color="white")  # fmt: skip
    axes.axhline(1, color=LIMIT, linewidth=1, linestyle="--")
    axes.set_xticks(range(len(bars)), [point.asked for point, _ in reached])
    axes.set_ylim(0, 1.25 * max(1.0, *bars, 0.0))
    label_axes(axes, "budget", "real speed-up / MAC reduction")


def _mark_budgets(axes: "Axes", points: tuple[FrontPoint, ...]) -> None:
    """What was allowed, as lines; budgets out of reach in the colour of limits."""
    for point in points:
        color = DENSE if point.pruned is not None else LIMIT
        axes.axvline(point.budget_ms, color=color, linewidth=0.8, linestyle=":", zorder=0)
