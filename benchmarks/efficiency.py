"""Speed efficiency (real speed-up / MAC reduction) beside Torch-Pruning's, measured by one script that knows neither.

    python benchmarks/budgets.py && python benchmarks/efficiency.py [--models resnet50 …]

Ours are the files of benchmarks/budgets.py. Torch-Pruning prunes by group magnitude, local, global and isomorphic, each
with round_to none, 8 and 16, over a grid of ratios; its speed-up does not always rise with the ratio, so the whole grid
is measured, and between the two grid points around an asked speed-up one more ratio is tried. Of each setting the
point nearest to the asked speed-up counts if it lies within a tenth of it. The best settings and ours are then measured
once more against dense, one after the other in the same run, each in fresh processes.

Results go to benchmarks/results/efficiency.json, one model after the other; what is there is kept (--again).
"""

import argparse
import datetime
import itertools
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import latency_models
from fresh_ratio import measure_apart
from markers import ROOT
from rich.console import Console

RATIOS = (0.15, 0.3, 0.45, 0.6, 0.75)
SETTINGS = [(scope, round_to) for scope in ("local", "global", "isomorphic") for round_to in (None, 8, 16)]
NEAR = 0.1
FINALISTS = 2
LIMIT_S = 300
SPEEDUPS = (1.5, 2.0, 3.0)
RESULTS = ROOT / "benchmarks" / "results"


def prune_peer(name, setting, ratios, folder):
    """Per ratio the MAC reduction, parameters and file of a setting, or why there is none."""
    scope, round_to = setting
    command = [sys.executable, str(ROOT / "benchmarks" / "peer_prune.py"), name, "--scope", scope]
    command += ["--out", str(folder), *(["--round-to", str(round_to)] if round_to else [])]
    command += ["--ratios", *map(str, ratios)]
    try:
        printed = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S * len(ratios)).stdout
    except subprocess.TimeoutExpired as late:
        printed = (late.stdout or b"").decode()
    points = [json.loads(line) for line in printed.splitlines() if line.startswith("{")]
    missing = ratios[len(points) :]
    return [*points, *({"ratio": r, "fails": f"ended, or not done within {LIMIT_S} s each"} for r in missing)]


def prune_settings(name, folder, console):
    """Points of each setting over the grid, not measured yet.

    Where a scope fails at the first ratio without rounding, which comes after the analysis, it is not tried further.
    """
    points = {}
    for scope, round_to in SETTINGS:
        first = points[scope, None][:1] if round_to else []
        if not first or "file" in first[0]:
            first = prune_peer(name, (scope, round_to), RATIOS[:1], folder)
        rest = prune_peer(name, (scope, round_to), RATIOS[1:], folder) if "file" in first[0] else []
        points[scope, round_to] = first + rest
        console.print(name, (scope, round_to), len(points[scope, round_to]), "ratios pruned", highlight=False)
    return points


def measure_setting(name, setting, points, dense, folder, console):
    """The points with their speed-ups, and one more between the grid points around each asked speed-up."""

    def measured(points):
        for point in points:
            if "file" in point:
                point["speedup"] = measure_apart((dense, point["file"]), processes=2, seconds=0.4)["ratio"]
            console.print(name, setting, point.get("speedup", point.get("fails")), highlight=False)
        return points

    points = measured(points)
    between = []
    for asked in SPEEDUPS:
        for left, right in itertools.pairwise(p for p in points if "speedup" in p):
            if left["speedup"] < asked <= right["speedup"]:
                share = (asked - left["speedup"]) / (right["speedup"] - left["speedup"])
                between.append(left["ratio"] + share * (right["ratio"] - left["ratio"]))
                break
    return points + (measured(prune_peer(name, setting, between, folder)) if between else [])


def nearest(points, asked):
    """The measured point of a setting nearest to the asked speed-up, None if none lies near."""
    near = [p for p in points if "speedup" in p and abs(p["speedup"] / asked - 1) <= NEAR]
    return min(near, key=lambda p: abs(p["speedup"] / asked - 1), default=None)


def judge_model(name, ours, files, console):
    """Grid, finalists, and the last measurement of them and of ours in one go."""
    dense = files / name / "dense.onnx"
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        pruned = prune_settings(name, folder, console)
        grid = {
            str(setting): measure_setting(name, setting, points, dense, folder, console)
            for setting, points in pruned.items()
        }
        cells = []
        for cell in (c for c in ours["cells"] if "unreachable" not in c):
            asked = cell["speedup"]
            near = {setting: point for setting, points in grid.items() if (point := nearest(points, asked))}
            best = sorted(near, key=lambda s: near[s]["speedup"] / near[s]["mac_reduction"])[-FINALISTS:]
            entries = {s: (near[s]["file"], near[s]["mac_reduction"]) for s in best}
            entries["ours"] = (files / name / f"{asked:g}x.onnx", cell["mac_reduction"])
            finals = measure_finals(dense, entries)
            cells.append({"speedup": asked, "settings_near": len(near), "finals": finals})
            console.print(name, asked, {k: round(v["efficiency"], 3) for k, v in finals.items()}, highlight=False)
    return {"model": name, "grid": strip(grid), "cells": cells}


def measure_finals(dense, entries):
    """Each measured once more; where a rival's interval meets ours, both are measured again, longer."""
    finals = {name: final(dense, *entry) for name, entry in entries.items()}
    ours = bounds(finals["ours"])
    close = [name for name, found in finals.items() if bounds(found)[1] >= ours[0] and bounds(found)[0] <= ours[1]]
    if len(close) > 1:
        finals |= {name: final(dense, *entries[name], processes=10) for name in close}
    return finals


def bounds(found):
    """The efficiency's interval."""
    return found["low"] / found["mac_reduction"], found["high"] / found["mac_reduction"]


def final(dense, file, mac_reduction, processes=4):
    """Measured once more, with its efficiency."""
    fresh = measure_apart((dense, file), processes=processes, seconds=1.5)
    return {**fresh, "mac_reduction": mac_reduction, "efficiency": fresh["ratio"] / mac_reduction}


def strip(grid):
    """Points without the paths of temporary files."""
    return {s: [{k: v for k, v in p.items() if k != "file"} for p in points] for s, points in grid.items()}


def main():
    """Judge the models that budgets.py has files of."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=latency_models.names(), default=latency_models.names())
    parser.add_argument("--files", type=Path, default=ROOT / "runs" / "budgets")
    parser.add_argument("--again", action="store_true")
    options = parser.parse_args()
    budgets = json.loads((RESULTS / "budgets" / "cpu-onnxruntime.json").read_text())
    path = RESULTS / "efficiency.json"
    results = {one["model"]: one for one in json.loads(path.read_text())["models"]} if path.exists() else {}
    for ours in (one for one in budgets["models"] if one["model"] in options.models):
        if ours["model"] in results and not options.again:
            continue
        results[ours["model"]] = judge_model(ours["model"], ours, options.files / "cpu-onnxruntime", Console())
        conditions = {key: budgets[key] for key in ("machine", "engine")}
        content = {**conditions, "date": datetime.date.today().isoformat(), "models": list(results.values())}
        temporary = path.with_suffix(".new")
        temporary.write_text(json.dumps(content, indent=1))
        temporary.replace(path)


if __name__ == "__main__":
    main()
