"""Measure a run's dense and pruned ONNX files afresh, with onnxruntime alone.

Shares no code with the package, so that it can contradict it: one process, two sessions, runs in turns A B B A with
a random picture, the median of the rounds' ratios. Prints the ratio, and the pruned model's share of the budget in
report.json; fails when that is above 1.

    python benchmarks/measure_again.py runs/yolov8n_digits [--seconds 20]
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime

TURN_RUNS = 20


def open_session(path: Path, threads: int) -> onnxruntime.InferenceSession:
    """A session that waits without spinning, so that two of them do not slow each other down."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def time_turn(session: onnxruntime.InferenceSession) -> list[float]:
    """Milliseconds of each run of a turn; the first one refills the caches and is dropped."""
    entry = session.get_inputs()[0]
    feed = {entry.name: np.random.default_rng(0).random(entry.shape, dtype=np.float32)}
    times = []
    for _ in range(TURN_RUNS + 1):
        start = time.perf_counter_ns()
        session.run(None, feed)
        times.append((time.perf_counter_ns() - start) / 1e6)
    return times[1:]


def main() -> int:
    """Measure, print, and say by the exit code whether the budget holds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="the run's folder")
    parser.add_argument("--seconds", type=float, default=20.0)
    arguments = parser.parse_args()
    source = arguments.run / "report" / "report.json"
    if not source.is_file():
        parser.error(f"{source} does not exist; make a run first, for example with: make demo")
    report = json.loads(source.read_text())
    files = {artifact["kind"]: arguments.run / artifact["path"] for artifact in report["artifacts"]}
    threads = report["conditions"]["threads"]
    dense, pruned = (open_session(files[kind], threads) for kind in ("onnx, dense", "onnx"))
    for session in (dense, pruned):
        time_turn(session)
    ratios, times = [], {"dense": [], "pruned": []}
    end = time.monotonic() + arguments.seconds
    while time.monotonic() < end or len(ratios) < 10:
        turns = [time_turn(session) for session in (dense, pruned, pruned, dense)]
        a, b = turns[0] + turns[3], turns[1] + turns[2]
        times["dense"] += a
        times["pruned"] += b
        ratios.append(statistics.median(a) / statistics.median(b))
    ratio = statistics.median(ratios)
    low, high = np.percentile(ratios, [25, 75])
    budget = report["budget"]
    medians = {name: statistics.median(values) for name, values in times.items()}
    share = budget["speedup"] / ratio if budget["speedup"] else medians["pruned"] / budget["latency_ms"]
    print(f"dense   {medians['dense']:.3f} ms\npruned  {medians['pruned']:.3f} ms   ({len(ratios)} rounds)")
    print(f"ratio   {ratio:.3f}, half of the rounds within [{low:.3f}, {high:.3f}]")
    print(
        f"report  {report['speedup']['value']:.3f}, [{report['speedup']['low']:.3f}, {report['speedup']['high']:.3f}]"
    )
    print(f"share of the budget  {share:.3f}")
    return 0 if share <= 1 else 1


if __name__ == "__main__":
    sys.exit(main())
