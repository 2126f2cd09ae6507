"""Measure one model, compare two, or profile one node by node; each model in a fresh worker process."""

from __future__ import annotations

import math
import time
from pathlib import Path

import numpy as np

from deploy_prune.hardware.profile import HardwareProfile
from deploy_prune.runtime.comparison import Comparison, ratio_interval
from deploy_prune.runtime.contention import contention_between
from deploy_prune.runtime.nodes import NodeProfile, read_nodes
from deploy_prune.runtime.runner import Runner
from deploy_prune.runtime.timing import Timing, median_interval, require_alike

MEASURE_BLOCK_S = 0.2
# One turn in a comparison: short, so that drift of the machine meets both models alike, and long enough that the
# first run of a turn, which refills the caches after the other model and is dropped, costs little.
TURN_S = 0.03
MIN_TURN_RUNS = 3
MIN_ROUNDS = 10


def measure(model: Path, profile: HardwareProfile) -> Timing:
    """Time a model until the interval of its median is as narrow as the profile asks, or its time limit.

    Raises:
        InputError, MissingDependencyError, MeasurementError: see ``Runner``.
    """
    limits = profile.measuring
    with Runner(model, profile) as runner:
        block_runs = max(5, math.ceil(MEASURE_BLOCK_S / _typical(runner.warm_up())))
        before, start = runner.state(), time.monotonic()
        samples: list[float] = []
        stop_reason = ""
        while not stop_reason:
            elapsed_s = time.monotonic() - start
            samples += runner.run(block_runs, max(limits.max_s - elapsed_s, 0.0))
            elapsed_s = time.monotonic() - start
            low, high = median_interval(np.asarray(samples))
            if len(samples) >= limits.min_runs and elapsed_s >= limits.min_s:
                if (high - low) / float(np.median(samples)) <= limits.ci_width:
                    stop_reason = "interval"
            if elapsed_s >= limits.max_s:
                stop_reason = stop_reason or "time limit"
        contention = contention_between([before], [runner.state()])
        return Timing(tuple(samples), stop_reason, runner.conditions(contention))


def compare(
    baseline: Path,
    candidate: Path,
    profile: HardwareProfile,
    *,
    rounds: int | None = None,
    null_test: bool = False,
) -> Comparison:
    """Time two models in turns (A B B A), so that whatever the machine does meets both alike.

    Args:
        baseline: the model that counts as 1.
        candidate: the model whose speed-up is asked for.
        profile: conditions and limits.
        rounds: how many A B B A rounds; by default until the interval of the speed-up is as narrow as the
            profile's ``ci_width``, or its time limit.
        null_test: first compare the baseline with itself, to know the noise floor.

    Raises:
        InputError: unlike conditions, such as input sizes; and as ``Runner`` does.
        MissingDependencyError, MeasurementError: see ``Runner``.
    """
    noise = None
    if null_test:
        null = compare(baseline, baseline, profile, rounds=rounds)
        noise = max(null.high, 1 / null.low) - 1
    with Runner(baseline, profile) as a, Runner(candidate, profile) as b:
        require_alike(a.conditions(), b.conditions())
        runners = (a, b)
        turn_runs = [1 + max(MIN_TURN_RUNS, math.ceil(TURN_S / _typical(r.warm_up()))) for r in runners]
        before, start = [r.state() for r in runners], time.monotonic()
        samples: tuple[list[float], list[float]] = ([], [])
        ratios: list[float] = []
        stop_reason = ""
        while not stop_reason:
            turns: tuple[list[float], list[float]] = ([], [])
            for k in (0, 1, 1, 0):
                turns[k].extend(runners[k].run(turn_runs[k], profile.measuring.max_s)[1:])
            ratios.append(float(np.median(turns[0]) / np.median(turns[1])))
            samples[0].extend(turns[0])
            samples[1].extend(turns[1])
            stop_reason = _stop(ratios, rounds, time.monotonic() - start, profile)
        contention = contention_between(before, [r.state() for r in runners])
        timings = [
            Timing(tuple(s), stop_reason, r.conditions(contention))
            for s, r in zip(samples, runners, strict=True)
        ]
    low, high = ratio_interval(ratios)
    return Comparison(
        round_ratios=tuple(ratios),
        speedup=float(np.exp(np.median(np.log(ratios)))),
        low=low,
        high=high,
        tolerance=profile.measuring.ci_width if noise is None else noise,
        noise=noise,
        baseline=timings[0],
        candidate=timings[1],
    )


def profile_nodes(model: Path, profile: HardwareProfile) -> NodeProfile:
    """Time a model and each of its nodes, by turns, in two workers: one profiled by its engine, one not.

    Ends after the profile's ``min_runs`` runs of each, or its time limit.

    Raises:
        InputError, MissingDependencyError, MeasurementError: see ``Runner``.
    """
    limits = profile.measuring
    with Runner(model, profile) as plain, Runner(model, profile, profiling=True) as profiled:
        turn_runs = 1 + max(MIN_TURN_RUNS, math.ceil(TURN_S / _typical(plain.warm_up())))
        done = len(profiled.warm_up())
        before, start = [plain.state(), profiled.state()], time.monotonic()
        samples: list[float] = []
        profiled_samples: list[float] = []
        kept_runs: list[int] = []
        stop_reason = ""
        while not stop_reason:
            samples += plain.run(turn_runs, limits.max_s)[1:]
            turn = profiled.run(turn_runs, limits.max_s)
            profiled_samples += turn[1:]
            kept_runs += range(done + 1, done + len(turn))
            done += len(turn)
            if len(samples) >= limits.min_runs:
                stop_reason = "runs"
            elif time.monotonic() - start >= limits.max_s:
                stop_reason = "time limit"
        contention = contention_between(before, [plain.state(), profiled.state()])
        timing = Timing(tuple(samples), stop_reason, plain.conditions(contention))
        nodes = read_nodes(Path(model), profiled.nodes(), kept_runs)
    return NodeProfile(timing, nodes, float(np.median(profiled_samples)))


def _stop(ratios: list[float], rounds: int | None, elapsed_s: float, profile: HardwareProfile) -> str:
    """Why a comparison ends after these rounds; empty while it goes on."""
    if rounds is not None:
        return "rounds" if len(ratios) >= rounds else ""
    if len(ratios) >= MIN_ROUNDS:
        low, high = median_interval(np.asarray(ratios))
        if high / low - 1 <= profile.measuring.ci_width:
            return "interval"
    return "time limit" if elapsed_s >= profile.measuring.max_s else ""


def _typical(warm_up: list[float]) -> float:
    return float(np.median(warm_up[len(warm_up) // 2 :]))
