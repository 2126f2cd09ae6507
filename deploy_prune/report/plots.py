"""The four pictures of a run, and how any picture is made."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from deploy_prune.errors import MissingDependencyError
from deploy_prune.report import figures
from deploy_prune.report.front import PrunedPoint
from deploy_prune.report.result import Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DENSE, PRUNED, LIMIT, TEXT = "#b8c4d2", "#1f5fa8", "#c8453b", "#30363d"
LAYERS_SHOWN = 20  # more bars than this are not legible on one screen; the rest is summed into one
ROW_INCHES = 0.26


@dataclass(frozen=True)
class Picture:
    """A title, a height in inches, and what draws it."""

    title: str
    height: float
    draw: Callable[["Axes"], None]


def draw_plots(result: Result, folder: Path) -> list[Path]:
    """Write every picture of a run as PNG into ``folder``; return and raise as :func:`draw_pictures`."""
    _require_matplotlib()
    pictures = {
        name: Picture(title, _height(name, result), _bound(draw, result)) for name, (title, draw) in PLOTS.items()
    }
    return draw_pictures(pictures, folder)


def draw_pictures(pictures: Mapping[str, Picture], folder: Path) -> list[Path]:
    """Write pictures, by file name, as PNG into ``folder`` and return the paths.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    figure_of = _require_matplotlib()
    paths = []
    for name, picture in pictures.items():
        figure = figure_of(figsize=(8, picture.height), dpi=120, layout="constrained")
        axes = figure.add_subplot()
        axes.set_title(picture.title, loc="left", fontsize=11, fontweight="bold", color=TEXT, pad=10)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(colors=TEXT, labelsize=8)
        axes.margins(y=0.01)
        picture.draw(axes)
        figure.savefig(folder / name)
        paths.append(folder / name)
    return paths


def _require_matplotlib() -> "type[Figure]":
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependencyError(f"plots need {error.name}; pip install 'deploy_prune[report]'") from error
    return Figure


def _bound(draw: Callable[["Axes", Result], None], result: Result) -> Callable[["Axes"], None]:
    return lambda axes: draw(axes, result)


def draw_rounds(axes: "Axes", result: Result | PrunedPoint) -> None:
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
    label_axes(axes, "predicted, ms", "measured, ms")
    draw_legend(axes)


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
    label_axes(axes, "ms per inference, by the runtime's own profile" + others)
    draw_legend(axes)


def draw_widths(axes: "Axes", result: Result | PrunedPoint) -> None:
    """Kept out of dense width, in the order of execution."""
    rows = range(len(result.widths))
    axes.barh(rows, [width.dense for width in result.widths], height=0.72, color=DENSE, label="removed")
    axes.barh(rows, [width.kept for width in result.widths], height=0.72, color=PRUNED, label="kept")
    for row, width in enumerate(result.widths):
        axes.annotate(f"{width.kept} of {width.dense}", (width.dense, row), textcoords="offset points",
                      xytext=(4, 0), va="center", fontsize=7, color=TEXT)  # fmt: skip
    axes.set_yticks(rows, [width.name for width in result.widths])
    axes.invert_yaxis()
    label_axes(axes, "channels")
    draw_legend(axes)


def draw_efficiency(axes: "Axes", result: Result | PrunedPoint) -> None:
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
    label_axes(axes, f"dense / pruned; speed efficiency {result.speed_efficiency:.2f}")


def label_axes(axes: "Axes", x: str, y: str = "") -> None:
    """Name the axes."""
    axes.set_xlabel(x, fontsize=8, color=TEXT)
    axes.set_ylabel(y, fontsize=8, color=TEXT)


def draw_legend(axes: "Axes") -> None:
    """Above the bars, where it hides none."""
    axes.legend(frameon=False, fontsize=8, loc="lower right", bbox_to_anchor=(1, 1), ncols=3, borderaxespad=0.2)


def _height(name: str, result: Result) -> float:
    if name == "layers.png":
        return 1.4 + ROW_INCHES * 1.3 * min(len(result.layers), LAYERS_SHOWN)
    return height_of(name, result)


def height_of(name: str, result: Result | PrunedPoint) -> float:
    """Inches that a picture needs."""
    if name == "widths.png":
        return 1.4 + ROW_INCHES * 0.85 * len(result.widths)
    return 2.4 if name == "efficiency.png" else 4.5


PLOTS: dict[str, tuple[str, Callable[["Axes", Result], None]]] = {
    "efficiency.png": ("Speed-up beside MAC reduction", draw_efficiency),
    "rounds.png": ("Predicted against measured latency", draw_rounds),
    "layers.png": ("Latency per layer, before and after", draw_layers),
    "widths.png": ("Channels kept per layer", draw_widths),
}
