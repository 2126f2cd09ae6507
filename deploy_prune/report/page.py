"""report.md: the table, the pictures, and everything needed to judge them."""

from deploy_prune.report import figures
from deploy_prune.report.explained import explained_sections
from deploy_prune.report.exports import exports_markdown
from deploy_prune.report.markdown import table
from deploy_prune.report.plots import PLOTS
from deploy_prune.report.result import Result
from deploy_prune.report.table import result_rows, summary_lines


def write_page(result: Result) -> str:
    """The text of report.md; the pictures lie beside it."""
    parts = [
        f"# {result.model}, {result.task}: dense and pruned on {result.profile.name}",
        result_markdown(result),
        *(f"![{title}]({name})" for name, (title, _) in PLOTS.items()),
        "## Predicted and measured",
        "Every plan that the closed loop tried, in order. No widths within the budgets, as predicted in that round, "
        "are priced below the bound.",
        table(
            ("round", "predicted", "± std", "measured", "inside 95 %", "allowed", "loss", "bound", "gap"),
            _round_rows(result),
        ),
        *explained_sections(result),
        "## What it cost",
        table(("after", "of", "metric", "value"), _metric_rows(result)),
        f"The pruned ONNX file and the PyTorch module differ by at most {result.parity.max_abs:.2g} "
        f"(mean {result.parity.mean_abs:.2g}) in any output on {result.parity.images} real images.",
        *_recovery(result),
        *_exports(result),
        "## What could not be pruned",
        table(("channels", "reason"), [(frozen.name, frozen.reason) for frozen in result.frozen]),
        "## Conditions",
        table(("condition", "value"), [(key, shown(value)) for key, value in result.conditions.items()]),
        "## Files",
        table(("kind", "path", "sha256"), [(a.kind, a.path, a.sha256) for a in result.artifacts]),
    ]
    return "\n\n".join(parts) + "\n"


def result_markdown(result: Result) -> str:
    """The result's table and its sentences as Markdown."""
    rows = [(row.what, row.dense, row.pruned, row.change) for row in result_rows(result)]
    return table(("", "dense", "pruned", "change"), rows) + "\n\n" + "  \n".join(summary_lines(result))


def _round_rows(result: Result) -> list[tuple[str, ...]]:
    return [
        (
            str(number),
            figures.milliseconds(one.predicted_ms),
            figures.milliseconds(one.predicted_std_ms),
            figures.milliseconds(one.measured_ms),
            "yes" if one.inside else "no",
            figures.milliseconds(one.budget_ms),
            *figures.bounded(one.loss, one.loss_bound),
        )
        for number, one in enumerate(result.rounds, start=1)
    ]


def _metric_rows(result: Result) -> list[tuple[str, str, str, str]]:
    forms = {"pytorch": "PyTorch module", "onnx": "ONNX file"}
    return [(step.stage, forms[step.form], step.name, f"{step.value:.4f}") for step in result.metric_steps]


def _exports(result: Result) -> list[str]:
    if not result.exports:
        return []
    return ["## Formats and precisions", exports_markdown(result.exports, result.pruned.metric.name)]


def _recovery(result: Result) -> list[str]:
    if not result.recovery:
        return []
    rows = [
        (
            step.name,
            f"{step.before:.4g}",
            f"{step.after:.4g}",
            f"{step.layers_fitted} of {step.layers_tried}" if step.layers_tried else "",
            "yes" if step.kept else "no",
        )
        for step in result.recovery
    ]
    return [
        "## What came back without training",
        "Between pruning and finetuning, in order. Each change is kept only if the loss on training images that it was "
        "not fitted on falls; docs/recovery.md explains them.",
        table(("change", "loss before", "loss after", "layers changed", "kept"), rows),
    ]


def shown(condition: object) -> str:
    """A condition's value as text."""
    if condition is None:
        return "not told by this machine"
    return f"{condition:.3g}" if isinstance(condition, float) else str(condition)
