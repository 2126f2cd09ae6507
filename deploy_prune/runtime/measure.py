"""Measure one model, compare two, or time one node by node; each model in a fresh worker process."""

from __future__ import annotations

import math
import time
from pathlib import Path

import numpy as np

from deploy_prune.hardware.profile import HardwareProfile, MeasuringLimits
from deploy_prune.runtime.comparison import Comparison, ratio_interval
from deploy_prune.runtime.contention import contention_between
from deploy_prune.runtime.nodes import NodeProfile, read_nodes
from deploy_prune.runtime.runner import NO_RUNS, Runner, Runs
from deploy_prune.runtime.timing import Timing, median_interval, require_alike

MEASURE_BLOCK_S = 0.2
# A turn in a comparison is short, so that the machine's drift meets both models alike. Its first run, which
# refills the caches after the other model, is dropped.
TURN_S = 0.02
MIN_TURN_RUNS = 2
MIN_ROUNDS = 10


def measure(model: Path, profile: HardwareProfile) -> Timing:
    """Time a model until its median is known as well as the profile asks, or to the profile's time limit.

    Raises:
        InputError, MissingDependencyError, MeasurementError: see ``Runner``.
    """
    limits = profile.measuring
    with Runner(model, profile) as runner:
        block_runs = max(5, math.ceil(MEASURE_BLOCK_S / _typical_s(runner.warm_up())))
        before, start = runner.state(), time.monotonic()
        runs, stop_reason = NO_RUNS, ""
        while not stop_reason:
            runs += runner.run(block_runs, max(limits.max_s - (time.monotonic() - start), 0.0))
            stop_reason = _stop_measuring(runs, time.monotonic() - start, limits)
        contention = contention_between([before], [runner.state()])
        return Timing(runs.samples_s, runs.waits_s, stop_reason, runner.conditions(contention))


def compare(
    baseline: Path,
    candidate: Path,
    profile: HardwareProfile,
    *,
    rounds: int | None = None,
    null_test: bool = False,
) -> Comparison:
    """Time two models by short turns (A B B A), so that whatever the machine does meets both alike.

    Both workers stay on one core when the profile asks for one thread and names no cores: cores of a shared
    machine can differ by more than the models do.

    Args:
        baseline: the model that counts as 1.
        candidate: the model whose speed-up is asked for.
        profile: conditions and limits.
        rounds: how many A B B A rounds; by default until the interval of the speed-up is as narrow as the
            profile's ``ci_width``, or to its time limit.
        null_test: compare the baseline with itself first, to know the noise floor; doubles the time.

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
        turn_runs = _prepare_turns(a, b)
        before, start = [a.state(), b.state()], time.monotonic()
        runs, ratios, stop_reason = [NO_RUNS, NO_RUNS], list[float](), ""
        while not stop_reason:
            turns = [NO_RUNS, NO_RUNS]
            for k in (0, 1, 1, 0):
                turns[k] += (a, b)[k].run(turn_runs[k], profile.measuring.max_s)[1:]
            ratios.append(turns[0].median_s / turns[1].median_s)
            runs = [runs[0] + turns[0], runs[1] + turns[1]]
            stop_reason = _stop_comparing(ratios, rounds, time.monotonic() - start, profile.measuring)
        contention = contention_between(before, [a.state(), b.state()])
        timings = [
            Timing(r.samples_s, r.waits_s, stop_reason, runner.conditions(contention))
            for r, runner in zip(runs, (a, b), strict=True)
        ]
    low, high = ratio_interval(ratios)
    return Comparison(
        round_ratios=tuple(ratios),
        speedup=float(np.median(ratios)),
        low=low,
        high=high,
        tolerance=profile.measuring.ci_width if noise is None else noise,
        noise=noise,
        baseline=timings[0],
        candidate=timings[1],
    )


def profile_nodes(model: Path, profile: HardwareProfile) -> NodeProfile:
    """Time a model and each of its nodes, by turns, in two workers: one profiled by its engine, one not.

    Ends after the profile's ``min_runs`` runs of each, or at its time limit.

    Raises:
        InputError, MissingDependencyError, MeasurementError: see ``Runner``.
    """
    limits = profile.measuring
    with Runner(model, profile) as plain, Runner(model, profile, profiling=True) as profiled:
        turn_runs = _prepare_turns(plain, profiled)
        before, start = [plain.state(), profiled.state()], time.monotonic()
        plain_runs, profiled_runs, positions = NO_RUNS, NO_RUNS, list[int]()
        stop_reason = ""
        while not stop_reason:
            plain_runs += plain.run(turn_runs[0], limits.max_s)[1:]
            first = profiled.runs_done + 1
            turn = profiled.run(turn_runs[1], limits.max_s)[1:]
            profiled_runs += turn
            positions += range(first, first + len(turn))
            if len(plain_runs) >= limits.min_runs:
                stop_reason = "runs"
            elif time.monotonic() - start >= limits.max_s:
                stop_reason = "time limit"
        contention = contention_between(before, [plain.state(), profiled.state()])
        timing = Timing(plain_runs.samples_s, plain_runs.waits_s, stop_reason, plain.conditions(contention))
        nodes = read_nodes(Path(model), profiled.nodes(), positions, profiled_runs.waits_s)
    return NodeProfile(timing, nodes, profiled_runs.median_s)


def _prepare_turns(a: Runner, b: Runner) -> tuple[int, int]:
    """Warm both up, bind them to one core where that is fair, and say how many runs make a turn of each."""
    turn_runs = [1 + max(MIN_TURN_RUNS, math.ceil(TURN_S / _typical_s(r.warm_up()))) for r in (a, b)]
    if a.profile.threads == 1 and a.profile.affinity is None:
        b.pin(a.pin())
    return turn_runs[0], turn_runs[1]


def _stop_measuring(runs: Runs, elapsed_s: float, limits: MeasuringLimits) -> str:
    """Why a measurement ends after these runs; empty while it goes on."""
    if len(runs) >= limits.min_runs and elapsed_s >= limits.min_s:
        low, high = median_interval(runs.samples_s)
        if high - low <= limits.ci_width * runs.median_s:
            return "interval"
    return "time limit" if elapsed_s >= limits.max_s else ""


def _stop_comparing(
    ratios: list[float], rounds: int | None, elapsed_s: float, limits: MeasuringLimits
) -> str:
    """Why a comparison ends after these rounds; empty while it goes on."""
    if rounds is not None:
        return "rounds" if len(ratios) >= rounds else ""
    if len(ratios) >= MIN_ROUNDS:
        low, high = median_interval(ratios)
        if high - low <= limits.ci_width * low:
            return "interval"
    return "time limit" if elapsed_s >= limits.max_s else ""


def _typical_s(warm_up: Runs) -> float:
    return warm_up[len(warm_up) // 2 :].median_s
