"""Which way to finetune keeps most accuracy: teachers, recovery, sparse training and milder budgets, at equal epochs.

    python benchmarks/finetuning.py [--recipes resnet18_digits mobilenetv2_digits] [--seeds 0 1 2] [--speedup 3]
    python benchmarks/finetuning.py --table

Each choice is a recipe of pipelines/ with a few keys changed, run by `deploy-prune run`; choices of a recipe and a seed
share a folder, and so the dense network and its measurements. Epochs of sparse training and of milder budgets are taken
from those of finetuning, so that all choices train equally long. Scores are those of the exported ONNX files. Results
go to benchmarks/results/finetuning.json, run by run; what is there is kept.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import yaml
from markers import ROOT, fill

from deploy_prune.hardware.machine import detect_machine
from deploy_prune.report.result import read_result

RECIPES = ("resnet18_digits", "mobilenetv2_digits", "timm_convnext_digits", "deeplabv3_digits", "yolov8n_digits")
RESULTS = ROOT / "benchmarks" / "results" / "finetuning.json"


def choices(epochs: int, task: str, yolo: bool) -> dict[str, list[str]]:
    """Changed keys by the choice's name; ``epochs`` in all."""
    part = max(epochs // 3, 1)
    found = {
        "as the recipe": [],
        "without recovery": ["recover.enabled=false"],
        "teacher": ["finetune.distil=true"],
        "sparse, group norm": ["sparse.kind=group_norm", f"sparse.epochs={part}", f"finetune.epochs={epochs - part}"],
        "sparse, BN scale": ["sparse.kind=bn_scale", f"sparse.epochs={part}", f"finetune.epochs={epochs - part}"],
        "sparse, growing": ["sparse.kind=growing", f"sparse.epochs={part}", f"finetune.epochs={epochs - part}"],
        "two budgets": ["schedule.steps=2", f"schedule.epochs={part}", f"finetune.epochs={epochs - part}"],
        "three budgets": ["schedule.steps=3", f"schedule.epochs={part}", f"finetune.epochs={epochs - 2 * part}"],
    }
    if task in ("classify", "semantic") and not yolo:
        attention = ["finetune.distil=true", "finetune.attention=20"]
        found["attention maps"] = [*attention, "finetune.teacher_share=0"]
        found["teacher and attention maps"] = attention
    return found


def run(recipe: str, seed: int, speedup: float, changes: list[str], folder: Path) -> dict[str, float]:
    """One run, and the scores of its report."""
    command = [sys.executable, "-m", "deploy_prune", "run", str(ROOT / "pipelines" / f"{recipe}.yaml"), *changes]
    command += [f"seed={seed}", "--speedup", f"{speedup:g}", "--out", str(folder / f"{recipe}-{seed}")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1):
        raise SystemExit(f"{' '.join(command)}\n{done.stderr}")
    result = read_result(folder / f"{recipe}-{seed}" / "report" / "report.json")
    steps = {step.stage: step.value for step in result.metric_steps}
    return {
        "dense": result.dense.metric.value,
        "pruned": steps["prune"],
        "recovered": steps.get("recover", steps["prune"]),
        "finetuned": result.pruned.metric.value,
        "speedup": result.speedup.value,
    }


def main() -> None:
    """Run what is missing, or write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipes", nargs="+", choices=RECIPES, default=RECIPES[:2])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--speedup", type=float, default=3.0)
    parser.add_argument("--folder", type=Path, default=ROOT / "runs" / "finetuning")
    parser.add_argument("--table", action="store_true", help="write the table of what there is")
    options = parser.parse_args()
    rows = json.loads(RESULTS.read_text())["runs"] if RESULTS.exists() else []
    if not options.table:
        for seed in options.seeds:
            for recipe in options.recipes:
                rows = run_choices(recipe, seed, options.speedup, options.folder, rows)
    fill("docs/schedules.md", "finetuning", "finetuning.py", table(rows))


def run_choices(recipe: str, seed: int, speedup: float, folder: Path, rows: list[dict]) -> list[dict]:
    """All choices of a recipe and a seed that are not there yet."""
    content = yaml.safe_load((ROOT / "pipelines" / f"{recipe}.yaml").read_text())
    wanted = choices(content["finetune"]["epochs"], content["task"], recipe.startswith("yolo"))
    for name, changes in wanted.items():
        about = {"recipe": recipe, "choice": name, "seed": seed, "asked": speedup}
        if any(about.items() <= row.items() for row in rows):
            continue
        found = run(recipe, seed, speedup, changes, folder)
        date, machine = time.strftime("%Y-%m-%d"), detect_machine().processor
        rows = [*rows, about | found | {"epochs": content["finetune"]["epochs"], "date": date, "machine": machine}]
        print(about, found, flush=True)
        temporary = RESULTS.with_suffix(".new")
        temporary.write_text(json.dumps({"runs": rows}, indent=1))
        temporary.replace(RESULTS)
    return rows


def table(rows: list[dict]) -> str:
    """Means and ranges over the seeds."""
    lines = ["| recipe, asked, epochs | choice | seeds | dense | pruned | recovered | finetuned |", "| --- " * 7 + "|"]
    keys = dict.fromkeys((row["recipe"], row["asked"], row["epochs"], row["choice"]) for row in rows)
    for recipe, asked, epochs, choice in keys:
        own = [
            r for r in rows if (r["recipe"], r["asked"], r["epochs"], r["choice"]) == (recipe, asked, epochs, choice)
        ]
        means = [statistics.mean(row[key] for row in own) for key in ("dense", "pruned", "recovered", "finetuned")]
        last = sorted(row["finetuned"] for row in own)
        shown = " | ".join(f"{mean:.3f}" for mean in means)
        lines.append(
            f"| {recipe}, {asked:g}×, {epochs} | {choice} | {len(own)} | {shown} ({last[0]:.3f} to {last[-1]:.3f}) |"
        )
    dates, machines = sorted({row["date"] for row in rows}), sorted({row["machine"] for row in rows})
    return "\n".join([*lines, "", f"Measured on {', '.join(dates)} on {', '.join(machines)}."])


if __name__ == "__main__":
    main()
