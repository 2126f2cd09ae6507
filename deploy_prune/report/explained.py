"""The part of report.md that says why: time in parts, layers against the roofs, the floor, the latency model."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from deploy_prune.report import figures
from deploy_prune.report.advice import Advice
from deploy_prune.report.alternatives import HEADINGS, alternative_rows, verdict_line
from deploy_prune.report.explanation import Explanation, FloorReport, LayerReport, LayerSide, ModelAccount
from deploy_prune.report.markdown import table
from deploy_prune.report.result import Result, Round
from deploy_prune.report.wording import explanation_paragraph, floor_paragraph

LAYERS_SHOWN = 15
"""Rows of the layer table; the others are summed in one."""
SHOWN_NAMES = 5
"""Names of nodes listed in a sentence."""


def explained_sections(result: Result) -> list[str]:
    """Markdown blocks, in order."""
    return [
        *why_sections(result.explanation),
        *floor_sections(result.account.floor, result.advice),
        *_alternatives(result),
        *model_sections(result.account.model, result.rounds),
    ]


def why_sections(found: Explanation) -> list[str]:
    """Why the speed-up is not the MAC ratio, and the layers."""
    roofs = found.roofs
    bandwidths = [f"{one.bytes_per_s / 1e9:.1f} at {figures.size(one.moved_bytes)}" for one in roofs.bandwidths]
    return [
        "## Why the speed-up is not the MAC ratio",
        explanation_paragraph(found),
        f"At its best the engine was measured to compute {roofs.macs_per_s / 1e9:.1f} GMAC/s here, to move "
        f"{', '.join(bandwidths)} GB/s, and to take {1e3 * roofs.node_ms:.2f} µs for a node that does next to nothing; "
        f"kernels work in steps of {roofs.step} channels. docs/report.md explains every column.",
        table(
            ("layer", "ms", "MACs", "moved", "compute", "memory", "bound by", "padding"),
            layer_rows(found),
        ),
    ]


def layer_rows(found: Explanation) -> list[tuple[str, ...]]:
    """The slowest layers of the dense model, the rest summed; each cell is dense → pruned."""
    ordered = sorted(found.layers, key=lambda layer: -(layer.dense.ms if layer.dense else 0.0))
    rows = [_layer_row(layer) for layer in ordered[:LAYERS_SHOWN]]
    rest = ordered[LAYERS_SHOWN:]
    if rest:
        before = [one.dense for one in rest if one.dense]
        after = [one.pruned for one in rest if one.pruned]
        sums = [
            f"{sum(s.ms for s in before):.3f} → {sum(s.ms for s in after):.3f}",
            f"{figures.count(sum(s.macs for s in before))} → {figures.count(sum(s.macs for s in after))}",
            f"{figures.size(sum(s.moved_bytes for s in before))} → {figures.size(sum(s.moved_bytes for s in after))}",
        ]
        rows.append((f"the other {len(rest)}", *sums, "", "", "", ""))
    return rows


def _layer_row(layer: LayerReport) -> tuple[str, ...]:
    def both(show: Callable[[LayerSide], str]) -> str:
        sides = ["–" if side is None else show(side) for side in (layer.dense, layer.pruned)]
        return sides[0] if sides[0] == sides[1] else " → ".join(sides)

    def multiplying(show: Callable[[LayerSide], str]) -> str:
        return both(lambda side: show(side) if side.macs else "–")

    return (
        layer.name,
        both(lambda side: f"{side.ms:.3f}"),
        multiplying(lambda side: figures.count(side.macs)),
        both(lambda side: figures.size(side.moved_bytes)),
        multiplying(lambda side: f"{side.compute_share:.0%}"),
        both(lambda side: f"{side.memory_share:.0%}"),
        both(_bound),
        multiplying(lambda side: f"{side.padding:.0%}"),
    )


def _bound(side: LayerSide) -> str:
    return side.bound_by or "no MACs"


def floor_sections(floor: FloorReport, advised: Sequence[Advice]) -> list[str]:
    """What no width can change, and what would do better."""
    advice = [f"- {one.advice} ({one.criterion}: {one.figure:.0%})" for one in advised] or [
        "No rule says that another tool than pruning would do better at this budget."
    ]
    return ["## What no width can change", floor_paragraph(floor), "\n".join(advice)]


def _alternatives(result: Result) -> list[str]:
    if not result.alternatives:
        return []
    return [
        "## Alternatives at this budget",
        table(HEADINGS, alternative_rows(result.alternatives)),
        verdict_line(result.alternatives),
    ]


def model_sections(account: ModelAccount, rounds: Sequence[Round]) -> list[str]:
    """How well the latency model predicted, and what it leaves unexplained."""
    inside = [one.inside for one in rounds]
    errors = sorted(abs(one.predicted_ms / one.measured_ms - 1) for one in rounds)
    rows = [(one.op, f"{one.residual:.1%}") for one in account.residuals]
    return [
        "## The latency model",
        f"Of {len(inside)} measured plans {sum(inside)} lay inside the prediction's 95 % interval; the largest error "
        f"was {errors[-1]:.1%}. A whole run is {account.scale:.3f} times the sum of the nodes "
        f"{account.overhead_ms:+.3f} ms. {_doubts(account)}",
        table(("operator", "left unexplained"), rows),
    ]


def _doubts(account: ModelAccount) -> str:
    named = (
        ("sizes follow no known tensor", account.unsized),
        ("sizes follow one nearly", account.approximate),
        ("are absent from some variants", account.intermittent),
    )
    sentences = []
    for what, names in named:
        if names:
            more = f" and {len(names) - SHOWN_NAMES} more" if len(names) > SHOWN_NAMES else ""
            sentences.append(f"Nodes whose {what}" if "sizes" in what else f"Nodes that {what}")
            sentences[-1] += f": {', '.join(names[:SHOWN_NAMES])}{more}."
    return " ".join(sentences) or "Every node's size was decoded exactly."
