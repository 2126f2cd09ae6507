"""Write the tables of docs/latency.md, and the README's, from results of budgets.py, predictions.py, efficiency.py.

    python benchmarks/latency_tables.py

No number is typed by hand; a table whose results are not there is left as it is.
"""

import json
import statistics
from pathlib import Path

from markers import ROOT, fill

RESULTS = ROOT / "benchmarks" / "results"
DOCUMENT = "docs/latency.md"
WINDOW = (0.93, 1.00)
LIMIT = 1.02
SUMMARY_SPEEDUP = 2.0


def read(path: Path) -> dict | None:
    """A result file, None if it has not been made."""
    return json.loads(path.read_text()) if path.exists() else None


def markdown(heads: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def budgets_markdown(found: dict) -> str:
    """One row per model and budget: asked, predicted first, measured afresh."""
    rows, shares, unreachable = [], [], 0
    for one in found["models"]:
        for cell in one["cells"]:
            head = [f"{one['model']}, {one['pixels']} px", f"{cell['speedup']:g}×"]
            if "unreachable" in cell:
                unreachable += 1
                rows.append([*head, f"said to be unreachable: {cell['fastest']:.2f}× at most", "", "", "", "", ""])
                continue
            fresh, rounds = cell["fresh"], cell["rounds"]
            shares.append(cell["share"])
            first = 100 * (rounds[0]["predicted_s"] / rounds[0]["measured_s"] - 1)
            rows.append([
                *head, f"{fresh['ratio']:.2f}× [{fresh['low']:.2f}, {fresh['high']:.2f}]", f"{cell['share']:.3f}",
                f"{cell['mac_reduction']:.2f}×", f"{fresh['ratio'] / cell['mac_reduction']:.2f}", f"{first:+.1f} %",
                f"{len(rounds)}",
            ])  # fmt: skip
    heads = [
        "model",
        "asked",
        "measured afresh",
        "share of the budget",
        "fewer MACs",
        "efficiency",
        "first error",
        "rounds",
    ]
    inside = sum(WINDOW[0] <= share <= WINDOW[1] for share in shares)
    noise = [abs(one["noise"]["ratio"] - 1) for one in found["models"]]
    text = (
        f"{inside} of {len(shares)} lie within [{WINDOW[0]}, {WINDOW[1]:.2f}] of the budget, "
        f"{sum(share > LIMIT for share in shares)} above {LIMIT}; {unreachable} were said to be unreachable before "
        f"anything was pruned. Dense networks against themselves: {100 * statistics.median(noise):.1f} % off 1 in the "
        f"median, {100 * max(noise):.1f} % at most."
    )
    return "\n\n".join([markdown(heads, rows), text, source(found)])


def times_markdown(found: dict) -> str:
    """What a first budget takes, and each further one."""
    rows = []
    for one in found["models"]:
        seconds = [cell["budget_s"] for cell in one["cells"]]
        rows.append([one["model"], f"{one['dense_ms']:.1f}", f"{one['tables_s']:.0f}",
                     f"{one['tables_s'] + seconds[0]:.0f}", " and ".join(f"{s:.0f}" for s in seconds[1:])])  # fmt: skip
    heads = ["model", "dense, ms", "tables, s", "first budget with tables, s", "further budgets, s each"]
    return "\n\n".join([markdown(heads, rows), source(found)])


def predictions_markdown(found: dict) -> str:
    """Errors per model, and over all plans."""
    rows = [[one["model"], *errors(one)] for one in found["models"]]
    rows.append(["**all**", *errors(found["all"])])
    heads = ["model", "median error", "90th percentile", "bias", "within two standard deviations"]
    drawn = [abs(error_of(plan)) for one in found["models"] for plan in one["plans"]]
    both = sorted([*drawn, *map(abs, tried_errors())])
    text = (
        f"{len(drawn)} random plans, none of them used for fitting. Together with all {len(both) - len(drawn)} plans "
        f"that the searches above measured, each foreseen before its measurement: median error "
        f"{100 * statistics.median(both):.1f} %, 90th percentile {100 * both[int(0.9 * len(both))]:.1f} %."
    )
    return "\n\n".join([markdown(heads, rows), text, source(found)])


def tried_errors() -> list[float]:
    """The error of every plan of every search, whatever the engine."""
    found = [read(path) for path in sorted((RESULTS / "budgets").glob("*.json"))]
    cells = [cell for one in found if one for model in one["models"] for cell in model["cells"]]
    rounds = [tried for cell in cells for tried in cell.get("rounds", ())]
    return [error_of(tried) for tried in rounds]


def error_of(plan: dict) -> float:
    """Prediction over measurement, less one."""
    return plan["predicted_s"] / plan["measured_s"] - 1


def errors(summary: dict) -> list[str]:
    """Four cells."""
    shares = [f"{100 * summary[key]:.1f} %" for key in ("median", "p90")]
    return [*shares, f"{100 * summary['bias']:+.1f} %", f"{100 * summary['within_2_std']:.0f} %"]


def efficiency_markdown(found: dict) -> str:
    """Ours beside the best of Torch-Pruning's nine settings at each real speed-up."""
    rows, won, clear, cells = [], 0, 0, 0
    for one in found["models"]:
        for cell in one["cells"]:
            finals = dict(cell["finals"])
            ours = finals.pop("ours")
            best = max(finals, key=lambda setting: finals[setting]["efficiency"], default=None)
            cells += 1
            won += best is None or ours["efficiency"] > finals[best]["efficiency"]
            clear += best is None or lowest(ours) > max(map(highest, finals.values()))
            rows.append([
                one["model"], f"{cell['speedup']:g}×", f"{ours['ratio']:.2f}×", f"{ours['efficiency']:.2f}",
                f"{finals[best]['ratio']:.2f}×" if best else "none reaches it",
                f"{finals[best]['efficiency']:.2f}" if best else "",
                best.strip("()").replace("'", "").replace("None", "no rounding") if best else "",
            ])  # fmt: skip
    heads = ["model", "asked", "ours", "efficiency", "best of Torch-Pruning", "efficiency", "its setting"]
    text = f"Ours is higher in {won} of {cells} cells, in {clear} of them beyond both 95 % intervals."
    return "\n\n".join([markdown(heads, rows), text, source(found)])


def lowest(final: dict) -> float:
    """The lower bound of an efficiency."""
    return final["low"] / final["mac_reduction"]


def highest(final: dict) -> float:
    """The upper bound of an efficiency."""
    return final["high"] / final["mac_reduction"]


def best_peer(efficiency: dict | None, model: str, speedup: float) -> str:
    """The highest efficiency of Torch-Pruning's settings in a cell."""
    for one in efficiency["models"] if efficiency else ():
        for cell in one["cells"] if one["model"] == model else ():
            if cell["speedup"] == speedup:
                finals = [final["efficiency"] for name, final in cell["finals"].items() if name != "ours"]
                return f"{max(finals):.2f}" if finals else "none reaches it"
    return ""


def summary_markdown(found: dict) -> str:
    """One row per network at twice its speed, for the README."""
    efficiency, rows = read(RESULTS / "efficiency.json"), []
    for one in found["models"]:
        cell = next(c for c in one["cells"] if c["speedup"] == SUMMARY_SPEEDUP)
        if "unreachable" in cell:
            rows.append([one["model"], f"{one['dense_ms']:.1f}", "unreachable, said so beforehand", "", "", ""])
            continue
        fresh = cell["fresh"]
        rows.append([
            one["model"], f"{one['dense_ms']:.1f}", f"{fresh['ratio']:.2f}× [{fresh['low']:.2f}, {fresh['high']:.2f}]",
            f"{cell['mac_reduction']:.2f}×", f"{fresh['ratio'] / cell['mac_reduction']:.2f}",
            best_peer(efficiency, one["model"], SUMMARY_SPEEDUP),
        ])  # fmt: skip
    heads = ["model", "dense, ms", "asked 2×, measured", "fewer MACs", "efficiency", "Torch-Pruning's best"]
    return "\n\n".join([markdown(heads, rows), source(found)])


def source(found: dict) -> str:
    """Where and when."""
    return f"Measured on {found['date']} on {found['machine']}, one thread, {found['engine']}, fp32, random weights."


TABLES = {
    "budgets": ("budgets/cpu-onnxruntime.json", budgets_markdown),
    "budgets-openvino": ("budgets/cpu-openvino.json", budgets_markdown),
    "times": ("budgets/cpu-onnxruntime.json", times_markdown),
    "predictions": ("predictions/cpu-onnxruntime.json", predictions_markdown),
    "efficiency": ("efficiency.json", efficiency_markdown),
}


def main() -> None:
    """Fill every table whose results exist."""
    for name, (file, write) in TABLES.items():
        found = read(RESULTS / file)
        if found is not None:
            fill(DOCUMENT, name, "latency_tables.py", write(found))
    found = read(RESULTS / "budgets" / "cpu-onnxruntime.json")
    if found is not None:
        fill("README.md", "budgets-summary", "latency_tables.py", summary_markdown(found))


if __name__ == "__main__":
    main()
