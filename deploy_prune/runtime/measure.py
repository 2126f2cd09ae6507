"""Measure one model, compare two, or time one node by node; each model in a fresh worker process."""

from __future__ import annotations

import contextlib
import math
import time
from pathlib import Path

from deploy_prune.hardware.profile import HardwareProfile, MeasuringLimits
from deploy_prune.runtime.comparison import Comparison, estimate_ratio
from deploy_prune.runtime.contention import contention_between
from deploy_prune.runtime.nodes import NodeProfile, read_nodes
from deploy_prune.runtime.remote import held_device, held_here, retrying
from deploy_prune.runtime.runner import NO_RUNS, Runner, Runs
from deploy_prune.runtime.timing import Timing, median_interval
from deploy_prune.runtime.turns import prepare_turns, take_rounds, typical_s

MEASURE_BLOCK_S = 0.2
PROFILE_RUNS = 20
PROFILE_S = 2.5
"""A profile of nodes ends after this many runs once it has taken this long, though ``min_runs`` be more."""


def measure(model: Path, profile: HardwareProfile) -> Timing:
    """Time a model until its median is known as well as the profile asks, or to the profile's time limit.

    A measurement that something disturbed is taken again, as often as the profile's ``repeats`` says. When none was
    left alone, the one of the lowest median is kept, since disturbances only ever add time; its conditions say so.

    Raises:
        InputError, MissingDependencyError, MeasurementError: see ``Runner``.
    """
    timings: list[Timing] = []

    def take() -> Timing:
        with held_here(profile), Runner(model, profile) as runner:
            while len(timings) <= profile.measuring.repeats:
                timings.append(_measure_once(runner))
                if not timings[-1].conditions.contention.contended:
                    return timings[-1]
        return min(timings, key=lambda timing: timing.median_s)

    return retrying(profile, take)


def _measure_once(runner: Runner) -> Timing:
    limits = runner.profile.measuring
    block_runs = max(5, math.ceil(max(MEASURE_BLOCK_S, runner.block_s) / typical_s(runner.warm_up())))
    states, start = [runner.state()], time.monotonic()
    runs, stop_reason = NO_RUNS, ""
    while not stop_reason:
        runs += runner.run(block_runs, max(limits.max_s - (time.monotonic() - start), 0.0))
        stop_reason = _stop_measuring(runs, time.monotonic() - start, limits)
        states.append(runner.state())
    contention = contention_between(states[:1], states[-1:], states[1:-1])
    return Timing(runs.samples_s, runs.waits_s, stop_reason, runner.conditions(contention))


def compare(
    baseline: Path,
    candidate: Path,
    profile: HardwareProfile,
    *,
    rounds: int | None = None,
    null_test: bool = False,
    across_inputs: bool = False,
) -> Comparison:
    """Time two models by short turns (A B B A), so that whatever the machine does meets both alike.

    See ``deploy_prune.runtime.turns`` for what keeps the ratio steady.

    Args:
        baseline: the model that counts as 1.
        candidate: the model whose speed-up is asked for.
        profile: conditions and limits.
        rounds: how many A B B A rounds in each of the profile's ``pairs`` of fresh workers; by default until the
            interval of the speed-up should be as narrow as its ``ci_width``, or to its time limit.
        null_test: compare the baseline with itself first, to know the noise floor; doubles the time.
        across_inputs: let the models take inputs of different sizes, where that is the question: a lower resolution
            as another way to the same latency.

    Raises:
        InputError: unlike conditions, such as input sizes; and as ``Runner`` does.
        MissingDependencyError, MeasurementError: see ``Runner``.
    """
    noise = None
    if null_test:
        null = compare(baseline, baseline, profile, rounds=rounds)
        noise = max(null.high, 1 / null.low) - 1
    with held_device(profile):
        taken = take_rounds(Path(baseline), Path(candidate), profile, rounds, across_inputs=across_inputs)
    speedup, low, high = estimate_ratio(taken.pairs)
    return Comparison(
        pairs=taken.pairs,
        speedup=speedup,
        low=low,
        high=high,
        tolerance=profile.measuring.ci_width if noise is None else noise,
        noise=noise,
        baseline=taken.timings[0],
        candidate=taken.timings[1],
    )


def profile_nodes(model: Path, profile: HardwareProfile, *, reference: Path | None = None) -> NodeProfile:
    """Time a model and each of its nodes, by turns, in two workers: one profiled by its engine, one not.

    Ends after the profile's ``min_runs`` runs of each and ``min_s`` seconds, for a slow model after ``PROFILE_RUNS``
    (docs/measuring.md has what that costs), or at its time limit.

    Args:
        model: the model to profile.
        profile: conditions and limits.
        reference: a model that takes turns with the others. Where many models are profiled one after another,
            its time in each profile tells how fast the machine was then. On a shared machine YOLOv8n's own
            median spread by 6 % over twelve profiles, as a multiple of a reference's by 1.6 %.

    Raises:
        InputError, MissingDependencyError, MeasurementError: see ``Runner``.
    """
    return retrying(profile, lambda: _profile_nodes(model, profile, reference))


def _profile_nodes(model: Path, profile: HardwareProfile, reference: Path | None) -> NodeProfile:
    limits = profile.measuring
    with contextlib.ExitStack() as stack:
        stack.enter_context(held_device(profile))
        plain = stack.enter_context(Runner(model, profile))
        profiled = stack.enter_context(Runner(model, profile, profiling=True))
        runners = [plain, profiled]
        if reference is not None:
            runners.append(stack.enter_context(Runner(reference, profile)))
        turn_runs = prepare_turns(*runners)
        before, start = [runner.state() for runner in runners], time.monotonic()
        runs, positions, stop_reason = [NO_RUNS for _ in runners], list[int](), ""
        while not stop_reason:
            for k, runner in enumerate(runners):
                first = runner.runs_done + 1
                runs[k] += runner.run(turn_runs[k], limits.max_s)[1:]
                if runner is profiled:
                    positions += range(first, runner.runs_done)
            stop_reason = _stop_profiling(len(runs[0]), time.monotonic() - start, limits)
        contention = contention_between(before, [runner.state() for runner in runners])
        timing = Timing(runs[0].samples_s, runs[0].waits_s, stop_reason, plain.conditions(contention))
        nodes = read_nodes(Path(model), profiled.nodes(), positions, runs[1].waits_s)
    return NodeProfile(timing, nodes, runs[1].median_s, runs[2].median_s if reference is not None else None)


def _stop_profiling(runs: int, elapsed_s: float, limits: MeasuringLimits) -> str:
    """Why a profile of nodes ends after so many runs of each model; empty while it goes on."""
    if (runs >= limits.min_runs and elapsed_s >= limits.min_s) or (runs >= PROFILE_RUNS and elapsed_s >= PROFILE_S):
        return "runs"
    return "time limit" if elapsed_s >= limits.max_s else ""


def _stop_measuring(runs: Runs, elapsed_s: float, limits: MeasuringLimits) -> str:
    """Why a measurement ends after these runs; empty while it goes on."""
    if len(runs) >= limits.min_runs and elapsed_s >= limits.min_s:
        low, high = median_interval(runs.samples_s)
        if high - low <= limits.ci_width * runs.median_s:
            return "interval"
    return "time limit" if elapsed_s >= limits.max_s else ""
