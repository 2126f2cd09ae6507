"""What each recipe of pipelines/ ends with: the table of docs/recipes.md, from finished runs.

    deploy-prune run pipelines/resnet18_digits.yaml --out runs/recipes/resnet18_digits     # and so on
    python benchmarks/recipes.py [--runs runs/recipes]

Results of runs go to benchmarks/results/recipes.json; those that are there and have no newer run stay.
"""

import argparse
import json
import time
from pathlib import Path

from markers import ROOT, fill

from deploy_prune.hardware.machine import detect_machine
from deploy_prune.report.result import Result, read_result

RESULTS = ROOT / "benchmarks" / "results" / "recipes.json"
HEADS = (
    "recipe",
    "metric",
    "dense",
    "pruned",
    "recovered",
    "finetuned",
    "its ONNX file",
    "speed-up",
    "fewer MACs",
    "budget",
)


def summary(result: Result) -> dict:
    """The scores after each stage, and what was measured."""
    steps = {(step.stage, step.form): step.value for step in result.metric_steps}
    return {
        "metric": result.pruned.metric.name,
        "dense": steps["baseline", "onnx"],
        "pruned": steps["prune", "pytorch"],
        "recovered": steps.get(("recover", "pytorch")),
        "finetuned": steps["finetune", "pytorch"],
        "onnx": steps["export", "onnx"],
        "speedup": [result.speedup.value, result.speedup.low, result.speedup.high],
        "mac_reduction": result.mac_reduction,
        "budget": f"{result.budget.speedup:g}×",
        "met": result.all_kept,
        "date": time.strftime("%Y-%m-%d"),
        "machine": detect_machine().processor,
    }


def row(name: str, found: dict) -> str:
    """One line of the table."""
    recovered = "-" if found["recovered"] is None else f"{found['recovered']:.3f}"
    speedup = "{:.2f}× [{:.2f}, {:.2f}]".format(*found["speedup"])
    cells = [
        name,
        found["metric"],
        f"{found['dense']:.3f}",
        f"{found['pruned']:.3f}",
        recovered,
        f"{found['finetuned']:.3f}",
        f"{found['onnx']:.3f}",
        speedup,
        f"{found['mac_reduction']:.2f}×",
        f"{found['budget']}, {'met' if found['met'] else 'not met'}",
    ]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Take over finished runs and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "recipes")
    options = parser.parse_args()
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for report in sorted(options.runs.glob("*/report/report.json")):
        results[report.parts[-3]] = summary(read_result(report))
    RESULTS.write_text(json.dumps(results, indent=1))
    apart = max(abs(found["onnx"] - found["finetuned"]) for found in results.values())
    dates, machines = ({found[key] for found in results.values()} for key in ("date", "machine"))
    lines = [f"| {' | '.join(HEADS)} |", "| --- " * len(HEADS) + "|", *(row(*one) for one in results.items())]
    lines += ["", f"The ONNX file and the PyTorch network differ by {100 * apart:.2f} points at most. Taken over on"]
    lines[-1] += f" {', '.join(sorted(dates))} on {', '.join(sorted(machines))}."
    fill("docs/recipes.md", "recipes", "recipes.py", "\n".join(lines))


if __name__ == "__main__":
    main()
