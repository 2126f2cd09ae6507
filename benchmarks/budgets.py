"""Are latency budgets met? Every plan is measured afresh by a script that shares no code with the package.

    python benchmarks/budgets.py                                   # ONNX Runtime, all models at 1.5, 2 and 3 times
    python benchmarks/budgets.py --profile cpu-openvino --models mobilenet_v2 resnet50 vit_b_16 yolov8n

Results go to benchmarks/results/budgets/PROFILE.json, one cell after the other; finished cells are kept (--again does
them anew). The exported files stay in --files, for benchmarks/efficiency.py.
"""

import argparse
import dataclasses
import datetime
import json
import time
from pathlib import Path

import latency_models
from fresh_ratio import measure_apart
from markers import ROOT
from rich.console import Console
from rich.progress import Progress

from deploy_prune.errors import UnreachableBudgetError
from deploy_prune.hardware.machine import detect_machine
from deploy_prune.hardware.profile import load_profile
from deploy_prune.pipeline.latency_budget import Budget
from deploy_prune.pipeline.latency_search import LatencySearch, Subject
from deploy_prune.store import MeasurementStore

SPEEDUPS = (1.5, 2.0, 3.0)


def cell_of(search, speedup, folder, profile, progress):
    """Prune to one budget, export, and measure the file afresh."""
    started = time.monotonic()
    try:
        result = search.prune(Budget(speedup=speedup), progress)
    except UnreachableBudgetError as error:
        fastest = search.loop.device.dense_s / error.fastest_s
        return {
            "speedup": speedup,
            "unreachable": str(error),
            "fastest": fastest,
            "budget_s": time.monotonic() - started,
        }
    seconds = time.monotonic() - started
    file = search.subject.export(result.model, folder / f"{speedup:g}x.onnx")
    fresh = measure_apart((folder / "dense.onnx", file), profile.engine, profile.threads)
    return {
        "speedup": speedup,
        "rounds": [dataclasses.asdict(tried) for tried in result.rounds],
        "loop": result.comparison.speedup,
        "fresh": fresh,
        "share": speedup / fresh["ratio"],
        "mac_reduction": result.dense_count.macs / result.pruned_count.macs,
        "parameters": [result.dense_count.params, result.pruned_count.params],
        "budget_s": seconds,
    }


def judge_model(name, profile, files, store, progress):
    """All budgets of a model: the first pays for the tables, the others for their own measurements."""
    case, folder = latency_models.build(name), files / profile.name / name
    folder.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    subject = Subject(
        case.model,
        case.inputs,
        case.export,
        output_transform=case.kept_output,
        remove_branches=case.remove_branches,
    )
    search = LatencySearch.of(subject, profile, store, folder, progress)
    tables_s = time.monotonic() - started
    floor = measure_apart((folder / "dense.onnx", folder / "dense.onnx"), profile.engine, profile.threads)
    cells = [cell_of(search, speedup, folder, profile, progress) for speedup in SPEEDUPS]
    return {
        "model": name,
        "pixels": case.inputs.shape[-1],
        "dense_ms": 1e3 * search.loop.device.dense_s,
        "tables_s": tables_s,
        "noise": floor,
        "cells": cells,
    }


def load(path):
    """Earlier results by model."""
    return {one["model"]: one for one in json.loads(path.read_text())["models"]} if path.exists() else {}


def save(path, results, profile):
    """Write all results, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "profile": profile.name,
        "machine": detect_machine().processor,
        "engine": f"{profile.engine} {profile.engine_facts.version}",
        "date": datetime.date.today().isoformat(),
        "models": list(results.values()),
    }
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps(content, indent=1))
    temporary.replace(path)


def main():
    """Run what is missing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--profile", default="cpu-onnxruntime")
    parser.add_argument("--models", nargs="+", choices=latency_models.names(), default=latency_models.names())
    parser.add_argument("--again", action="store_true", help="do finished models anew")
    parser.add_argument("--files", type=Path, default=ROOT / "runs" / "budgets", help="where exported files stay")
    parser.add_argument("--store", type=Path, help="the file of measurements (default: the user's)")
    options = parser.parse_args()
    profile, store, console = load_profile(options.profile), MeasurementStore(options.store), Console()
    path = ROOT / "benchmarks" / "results" / "budgets" / f"{profile.name}.json"
    results = load(path)
    for name in options.models:
        if name in results and not options.again:
            continue
        with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
            results[name] = judge_model(name, profile, options.files, store, progress)
        save(path, results, profile)
        for cell in results[name]["cells"]:
            console.print(name, line_of(cell), highlight=False)


def line_of(cell):
    """A cell in words."""
    if "unreachable" in cell:
        return f"{cell['speedup']:g}x: unreachable, fastest {cell['fastest']:.2f}x"
    fresh = cell["fresh"]
    return (
        f"{cell['speedup']:g}x: {fresh['ratio']:.3f}x [{fresh['low']:.3f}, {fresh['high']:.3f}], "
        f"share {cell['share']:.3f}, {cell['mac_reduction']:.2f}x fewer MACs, {len(cell['rounds'])} rounds, "
        f"{cell['budget_s']:.0f} s"
    )


if __name__ == "__main__":
    main()
