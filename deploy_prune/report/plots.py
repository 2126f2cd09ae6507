"""The four pictures of a run."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from deploy_prune.errors import MissingDependencyError
from deploy_prune.report import figures
from deploy_prune.report.result import Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DENSE, PRUNED, LIMIT, TEXT = "#b8c4d2", "#1f5fa8", "#c8453b", "#30363d"
LAYERS_SHOWN = 20  # more bars than this are not legible on one screen; the rest is summed into one
ROW_INCHES = 0.26


def draw_plots(result: Result, folder: Path) -> list[Path]:
    """Write every picture as PNG into ``folder`` and return the paths.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependencyError(f"plots need {error.name}; pip install 'deploy_prune[report]'") from error
    paths = []
    for name, (title, draw) in PLOTS.items():
        figure = Figure(figsize=(8, _height(name, result)), dpi=120, layout="constrained")
        axes = figure.add_subplot()
        axes.set_title(title, loc="left", fontsize=11, fontweight="bold", color=TEXT, pad=10)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(colors=TEXT, labelsize=8)
        axes.margins(y=0.01)
        draw(axes, result)
        figure.savefig(folder / name)
        paths.append(folder / name)
    return paths


def draw_rounds(axes: "Axes", result: Result) -> None:
    """Predicted against measured latency of every plan tried; on the diagonal the prediction was right."""
    predicted = [one.predicted_ms for one in result.rounds]
    measured = [one.measured_ms for one in result.rounds]
    budget = result.rounds[-1].budget_ms
    low, high = min(*predicted, *measured, budget), max(*predicted, *measured, budget)
    margin = max(0.15 * (high - low), 0.02 * high)
    span = (low - margin, high + margin)
    axes.plot(span, span, color=DENSE, linewidth=1, label="exact")
    axes.axhline(budget, color=LIMIT, linewidth=1, linestyle="--", label=f"budget {figures.milliseconds(budget)}")
    axes.scatter(predicted, measured, s=50, color=PRUNED, zorder=3, label="round")
    for number, point in enumerate(zip(predicted, measured, strict=True), start=1):
        axes.annotate(str(number), point, textcoords="offset points", xytext=(7, 5), fontsize=9, color=TEXT)
    axes.set(xlim=span, ylim=span)
    _label(axes, "predicted, ms", "measured, ms")
    _legend(axes)


def draw_layers(axes: "Axes", result: Result) -> None:
    """Time per layer, dense above pruned, the slowest layers of the dense model first."""
    ordered = sorted(result.layers, key=lambda layer: layer.dense_ms, reverse=True)
    shown, rest = ordered[:LAYERS_SHOWN], ordered[LAYERS_SHOWN:]
    others = ""
    if rest:
        before = figures.milliseconds(sum(layer.dense_ms for layer in rest))
        after = figures.milliseconds(sum(layer.pruned_ms for layer in rest))
        others = f"; the other {len(rest)} layers together: {before} before, {after} after"
    rows = range(len(shown))
    for shift, color, side in ((-0.2, DENSE, "dense"), (0.2, PRUNED, "pruned")):
        times = [getattr(layer, f"{side}_ms") for layer in shown]
        axes.barh([row + shift for row in rows], times, height=0.38, color=color, label=side)
    axes.set_yticks(rows, [layer.name for layer in shown])
    axes.invert_yaxis()
    _label(axes, "ms per inference, by the runtime's own profile" + others)
    _legend(axes)


def draw_widths(axes: "Axes", result: Result) -> None:
    """Kept out of dense width, in the order of execution."""
    rows = range(len(result.widths))
    axes.barh(rows, [width.dense for width in result.widths], height=0.72, color=DENSE, label="removed")
    axes.barh(rows, [width.kept for width in result.widths], height=0.72, color=PRUNED, label="kept")
    for row, width in enumerate(result.widths):
        axes.annotate(f"{width.kept} of {width.dense}", (width.dense, row), textcoords="offset points",
                      xytext=(4, 0), va="center", fontsize=7, color=TEXT)  # fmt: skip
    axes.set_yticks(rows, [width.name for width in result.widths])
    axes.invert_yaxis()
    _label(axes, "channels")
    _legend(axes)


def draw_efficiency(axes: "Axes", result: Result) -> None:
    """Real speed-up, with its interval, beside the reduction in MACs, which is no speed-up."""
    speedup = result.speedup
    labels = ("speed-up\n(measured latency)", "MAC reduction\n(arithmetic saved)")
    values = (speedup.value, result.mac_reduction)
    interval = [[speedup.value - speedup.low], [speedup.high - speedup.value]]
    axes.barh(labels, values, height=0.55, color=(PRUNED, DENSE))
    axes.margins(y=0.08)
    axes.errorbar(speedup.value, 0, xerr=interval, color=TEXT, capsize=4)
    for row, (value, end) in enumerate(zip(values, (speedup.high, result.mac_reduction), strict=True)):
        axes.annotate(figures.ratio(value), (end, row), textcoords="offset points", xytext=(8, 0),
                      va="center", fontsize=10, color=TEXT)  # fmt: skip
    axes.axvline(1, color=TEXT, linewidth=0.8)
    axes.set_xlim(0, 1.15 * max(speedup.high, *values))
    axes.invert_yaxis()
    _label(axes, f"dense / pruned; speed efficiency {result.speed_efficiency:.2f}")


def _label(axes: "Axes", x: str, y: str = "") -> None:
    axes.set_xlabel(x, fontsize=8, color=TEXT)
    axes.set_ylabel(y, fontsize=8, color=TEXT)


def _legend(axes: "Axes") -> None:
    """Above the bars, where it hides none."""
    axes.legend(frameon=False, fontsize=8, loc="lower right", bbox_to_anchor=(1, 1), ncols=3, borderaxespad=0.2)


def _height(name: str, result: Result) -> float:
    bars = {"layers.png": min(len(result.layers), LAYERS_SHOWN), "widths.png": len(result.widths)}
    if name in bars:
        return 1.4 + ROW_INCHES * bars[name] * (1.3 if name == "layers.png" else 0.85)
    return 2.4 if name == "efficiency.png" else 4.5


PLOTS: dict[str, tuple[str, Callable[["Axes", Result], None]]] = {
    "efficiency.png": ("Speed-up beside MAC reduction", draw_efficiency),
    "rounds.png": ("Predicted against measured latency", draw_rounds),
    "layers.png": ("Latency per layer, before and after", draw_layers),
    "widths.png": ("Channels kept per layer", draw_widths),
}
