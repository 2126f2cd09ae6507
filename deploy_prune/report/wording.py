"""In plain words: why a speed-up is not the MAC ratio, and what no width can change."""

from __future__ import annotations

from collections.abc import Sequence

from deploy_prune.report import figures
from deploy_prune.report.explanation import Explanation, FloorReport, PartReport

_WHO = {
    "compute": ("node that is bound by compute", "nodes that are bound by compute"),
    "memory": ("node that is bound by memory", "nodes that are bound by memory"),
    "overhead": (
        "node with MACs that neither arithmetic nor data explain",
        "nodes with MACs that neither arithmetic nor data explain",
    ),
    "glue": ("node without MACs", "nodes without MACs"),
}
_SHORT = {
    "compute": "bound by compute",
    "memory": "bound by memory",
    "overhead": "bound by overhead",
    "glue": "without MACs",
    "between": "between the nodes",
}


def explanation_paragraph(found: Explanation) -> str:
    """One paragraph from the numbers alone; its milliseconds add up as they are printed."""
    digits = figures.digits_of(found.dense_ms)
    before, dense_ms = figures.rounded_to_sum([part.dense_ms for part in found.parts], found.dense_ms, digits)
    after, pruned_ms = figures.rounded_to_sum([part.pruned_ms for part in found.parts], found.pruned_ms, digits)
    sentences = [
        f"MACs fell {found.mac_reduction:.2f} times, latency {found.dense_ms / found.pruned_ms:.2f} times: "
        f"from {dense_ms:.{digits}f} to {pruned_ms:.{digits}f} ms.",
        *(
            _part_sentence(part, was, now, digits, found.dense_ms)
            for part, was, now in zip(found.parts, before, after, strict=True)
            if part.nodes or part.pruned_nodes or was or now
        ),
        _gap_sentence(found, digits),
    ]
    return " ".join(sentences)


def _part_sentence(part: PartReport, was: float, now: float, digits: int, dense_ms: float) -> str:
    times = f"{was:.{digits}f} ms and {'takes' if part.nodes == 1 else 'take'} {now:.{digits}f} ms"
    if part.name == "between":
        return f"Between the nodes the engine took {was:.{digits}f} ms and takes {now:.{digits}f} ms."
    one, many = _WHO[part.name]
    who = f"The {one}" if part.nodes == 1 else f"The {part.nodes} {many}"
    count = "" if part.pruned_nodes == part.nodes else f" (now {part.pruned_nodes})"
    share = f"{part.dense_ms / dense_ms:.0%} of the dense time"
    change = ""
    if part.pruned_ms > 0 and part.dense_ms > 0:
        quicker = part.dense_ms / part.pruned_ms
        change = f", {quicker:.2f} times faster" if quicker >= 1 else f", {1 / quicker:.2f} times slower"
    if part.pruned_macs:
        change += f" with {part.dense_macs / part.pruned_macs:.2f} times fewer MACs"
    return f"{who}{count}, {share}, took {times}{change}."


def _gap_sentence(found: Explanation, digits: int) -> str:
    """What is missing to the MAC ratio, or gained beyond it, part by part."""
    parts = [part for part in found.parts if part.excess_ms]
    ideal_ms = found.dense_ms / found.mac_reduction
    shown, gap = figures.rounded_to_sum([p.excess_ms for p in parts], found.pruned_ms - ideal_ms, digits)
    listed = ", ".join(f"{_SHORT[p.name]} {value:+.{digits}f}" for p, value in zip(parts, shown, strict=True))
    ideal = f"Had all time fallen as MACs did, the pruned model would take {ideal_ms:.{digits}f} ms"
    if not parts or not gap:
        return f"{ideal}, as it does."
    return f"{ideal}; the difference is {gap:+.{digits}f} ms: {listed}."


def floor_paragraph(floor: FloorReport) -> str:
    """The floor as a sum that adds up as it is printed."""
    parts = (
        ("nodes at their narrowest widths", floor.narrowest_ms),
        ("frozen layers", floor.frozen_ms),
        ("nodes without MACs that no group decides", floor.undecided_ms),
        ("post-processing", floor.post_processing_ms),
        ("the engine's overhead", floor.overhead_ms),
    )
    digits = figures.digits_of(floor.total_ms)
    shown, total = figures.rounded_to_sum([value for _, value in parts], floor.total_ms, digits)
    listed = _join([f"{name} {value:.{digits}f}" for (name, _), value in zip(parts, shown, strict=True)])
    return (
        f"No widths are predicted to take less than {total:.{digits}f} ms (standard deviation "
        f"{floor.std_ms:.{digits}f}), {floor.dense_ms / floor.total_ms:.2f} times as fast as dense: {listed} ms."
    )


def _join(parts: Sequence[str]) -> str:
    return ", ".join(parts[:-1]) + f" and {parts[-1]}"
