"""Measure a run's dense and pruned ONNX files afresh, with the engine alone (see fresh_ratio.py).

Prints the ratio beside the report's, and the pruned model's share of the budget; fails when that is above 1.

    python benchmarks/measure_again.py runs/yolov8n_digits [--seconds 20]
"""

import argparse
import json
import sys
from pathlib import Path

from fresh_ratio import measure_apart

PROCESSES = 6


def main() -> int:
    """Measure, print, and say by the exit code whether the budget holds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="the run's folder")
    parser.add_argument("--seconds", type=float, default=20.0, help="of all processes together")
    arguments = parser.parse_args()
    source = arguments.run / "report" / "report.json"
    if not source.is_file():
        parser.error(f"{source} does not exist; make a run first, for example with: make demo")
    report = json.loads(source.read_text())
    files = {artifact["kind"]: arguments.run / artifact["path"] for artifact in report["artifacts"]}
    conditions, budget, speedup = report["conditions"], report["budget"], report["speedup"]
    paths, seconds = (files["onnx, dense"], files["onnx"]), arguments.seconds / PROCESSES
    fresh = measure_apart(paths, conditions["engine"], conditions["threads"], PROCESSES, seconds)
    dense_ms, pruned_ms = fresh["median_ms"]
    share = budget["speedup"] / fresh["ratio"] if budget["speedup"] else pruned_ms / budget["latency_ms"]
    print(f"dense   {dense_ms:.3f} ms\npruned  {pruned_ms:.3f} ms   ({PROCESSES} processes)")
    print(f"ratio   {fresh['ratio']:.3f}, [{fresh['low']:.3f}, {fresh['high']:.3f}]")
    print(f"report  {speedup['value']:.3f}, [{speedup['low']:.3f}, {speedup['high']:.3f}]")
    print(f"share of the budget  {share:.3f}")
    return 0 if share <= 1 else 1


if __name__ == "__main__":
    sys.exit(main())
