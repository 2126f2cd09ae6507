"""How much faster one exported model is than another, measured afresh with the engine alone.

Shares no code with the package, so that it can contradict it. Each of several fresh processes opens both models (the
other one first in every second process) and runs them by turns A B B A on one core, with random inputs; a process
counts once, by the median of its rounds. The ratio is the geometric mean over the processes, its interval Student's t
over their logarithms.

    python benchmarks/fresh_ratio.py dense.onnx pruned.onnx [--engine openvino] [--processes 6] [--seconds 3]

Prints JSON: ratio, low, high, the processes' ratios, and median milliseconds of both models.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import time

import numpy as np

TURN_S = 0.03
ENGINES = ("onnxruntime", "openvino")
# 97.5 % quantiles of Student's t by degrees of freedom, from any table of it
T_975 = {1: 12.71, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262}


def open_onnxruntime(path, threads):
    """A function that runs the model once; idle threads sleep, so that two sessions do not slow each other down."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    feed = {entry.name: random_input(entry.shape) for entry in session.get_inputs()}
    return lambda: session.run(None, feed)


def open_openvino(path, threads):
    """A function that runs the model once, in FP32."""
    import openvino

    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": "f32",
        "ENABLE_CPU_PINNING": False,
    }
    compiled = openvino.Core().compile_model(path, "CPU", settings)
    request = compiled.create_infer_request()
    feed = [random_input(list(entry.shape)) for entry in compiled.inputs]
    return lambda: request.infer(feed)


def random_input(shape):
    """Noise of a fixed seed."""
    return np.random.default_rng(0).random(shape, dtype=np.float32)


def time_turn(run, runs):
    """Milliseconds of each run of a turn; the first one refills the caches and is dropped."""
    times = []
    for _ in range(runs + 1):
        start = time.perf_counter_ns()
        run()
        times.append((time.perf_counter_ns() - start) / 1e6)
    return times[1:]


def measure_here(paths, engine, threads, seconds, other_first):
    """In a process of its own: the median of the rounds' ratios and both models' medians in milliseconds."""
    if threads == 1 and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[-1]})
    opener = {"onnxruntime": open_onnxruntime, "openvino": open_openvino}[engine]
    runs = [None, None]
    for k in (1, 0) if other_first else (0, 1):
        runs[k] = opener(paths[k], threads)
    turn_runs = []
    for run in runs:
        time_turn(run, 3)
        turn_runs.append(max(3, math.ceil(TURN_S * 1e3 / statistics.median(time_turn(run, 5)))))
    ratios, times = [], [[], []]
    end = time.monotonic() + seconds
    while time.monotonic() < end or len(ratios) < 5:
        turns = [[], []]
        for k in (0, 1, 1, 0):
            turns[k] += time_turn(runs[k], turn_runs[k])
        ratios.append(statistics.median(turns[0]) / statistics.median(turns[1]))
        times = [kept + new for kept, new in zip(times, turns, strict=True)]
    return {"ratio": statistics.median(ratios), "median_ms": [statistics.median(one) for one in times]}


def measure_apart(paths, engine="onnxruntime", threads=1, processes=6, seconds=3.0):
    """The ratio over fresh processes, started one after the other."""
    found = []
    for number in range(processes):
        command = [sys.executable, __file__, *map(str, paths), "--engine", engine, "--threads", str(threads)]
        command += ["--seconds", str(seconds), "--child", *(["--other-first"] if number % 2 else [])]
        found.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    logarithms = [math.log(one["ratio"]) for one in found]
    middle = statistics.mean(logarithms)
    reach = T_975[processes - 1] * statistics.stdev(logarithms) / math.sqrt(processes)
    return {
        "ratio": math.exp(middle),
        "low": math.exp(middle - reach),
        "high": math.exp(middle + reach),
        "processes": [one["ratio"] for one in found],
        "median_ms": [statistics.median(one["median_ms"][k] for one in found) for k in (0, 1)],
    }


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs=2, help="the model that counts as 1, and the other")
    parser.add_argument("--engine", choices=ENGINES, default="onnxruntime")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--processes", type=int, default=6, choices=range(2, 11))
    parser.add_argument("--seconds", type=float, default=3.0, help="per process")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--other-first", action="store_true", help=argparse.SUPPRESS)
    a = parser.parse_args()
    if a.child:
        print(json.dumps(measure_here(a.models, a.engine, a.threads, a.seconds, a.other_first)))
    else:
        print(json.dumps(measure_apart(a.models, a.engine, a.threads, a.processes, a.seconds), indent=1))


if __name__ == "__main__":
    main()
