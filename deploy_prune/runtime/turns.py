"""Two models by turns: only one runs at a time, and whatever the machine does meets both alike.

What keeps the ratio steady on a machine that others use, each found by comparing models with themselves:

- turns are short, so that drift is the same for both; the order is A B B A, then B A A B, so that neither is
  always the first after a pause;
- the first run of a turn refills the caches after the other model, and is dropped;
- both stay on one core when the profile asks for one thread and names no cores: two cores of a shared machine
  can differ by more than the models do (17 % for seconds on end, where the physical neighbour was busy);
- workers are started afresh several times: where a process's memory happens to lie makes it up to 2 % slower
  or faster for as long as it lives;
- each model is started first in every other pair, so that being first cannot count.

With these, 20 comparisons of YOLOv8n (160 and 320 pixels) with itself, on 2 cores with several other busy
processes, gave ratios with a standard deviation of 0.6 and 0.5 %, none further than 1.3 % from 1. With one
pair of workers and A always first it was 1.2 and 0.6 %, and up to 2 %.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import time
from collections.abc import Sequence
from pathlib import Path

from deploy_prune.hardware.profile import HardwareProfile, MeasuringLimits
from deploy_prune.runtime.comparison import estimate_ratio
from deploy_prune.runtime.contention import Contention, contention_between, contention_over
from deploy_prune.runtime.remote import retrying
from deploy_prune.runtime.runner import NO_RUNS, Runner, Runs
from deploy_prune.runtime.timing import Conditions, Timing, median_interval, require_alike

TURN_S = 0.02
MIN_TURN_RUNS = 2
MIN_PAIR_ROUNDS = 5


@dataclasses.dataclass(frozen=True)
class Rounds:
    """All rounds of a comparison: for each pair of workers the ratio in every round, and the timings of both models."""

    pairs: tuple[tuple[float, ...], ...]
    timings: tuple[Timing, Timing]


@dataclasses.dataclass(frozen=True)
class _Pair:
    """The rounds of one pair of workers."""

    ratios: tuple[float, ...]
    runs: tuple[Runs, Runs]
    contention: Contention
    conditions: tuple[Conditions, Conditions]

    def swapped(self) -> _Pair:
        """The same with the models' parts exchanged."""
        ratios = tuple(1 / ratio for ratio in self.ratios)
        return _Pair(ratios, self.runs[::-1], self.contention, self.conditions[::-1])


def take_rounds(
    baseline: Path, candidate: Path, profile: HardwareProfile, rounds: int | None, *, across_inputs: bool = False
) -> Rounds:
    """Rounds of turns in as many pairs of fresh workers as the profile says.

    Args:
        baseline: the first model.
        candidate: the second model.
        profile: conditions and limits.
        rounds: how many per pair; None: until each pair's part in the interval of the ratio is as narrow as
            ``ci_width`` asks, or to its part of ``max_s``.
        across_inputs: whether the models may take inputs of different sizes.
    """
    limits = profile.measuring
    pairs = []
    for number in range(limits.pairs):
        models = (baseline, candidate) if number % 2 == 0 else (candidate, baseline)
        pair = retrying(profile, functools.partial(_take_pair, *models, profile, rounds, across_inputs))
        pairs.append(pair if number % 2 == 0 else pair.swapped())
    ratios = tuple(pair.ratios for pair in pairs)
    stop_reason = "rounds" if rounds is not None else _stop_reason(ratios, limits)
    contention = contention_over([pair.contention for pair in pairs])
    timings = []
    for model in (0, 1):
        runs = sum((pair.runs[model] for pair in pairs), NO_RUNS)
        conditions = dataclasses.replace(pairs[0].conditions[model], contention=contention)
        timings.append(Timing(runs.samples_s, runs.waits_s, stop_reason, conditions))
    return Rounds(ratios, (timings[0], timings[1]))


def prepare_turns(*runners: Runner) -> list[int]:
    """Warm all up, keep them on one core where that is fair, and say how many runs make a turn of each.

    It is not fair to workers whose runs are processes of their own: these have several threads.
    """
    turn_runs = [1 + max(MIN_TURN_RUNS, math.ceil(max(TURN_S, r.block_s) / typical_s(r.warm_up()))) for r in runners]
    first = runners[0]
    if first.profile.threads == 1 and first.profile.affinity is None and not first.block_s:
        core = first.pin()
        for runner in runners[1:]:
            runner.pin(core)
    return turn_runs


def typical_s(warm_up: Runs) -> float:
    """Seconds of a run at the end of the warm-up."""
    return warm_up[len(warm_up) // 2 :].median_s


def is_narrow(ratios: Sequence[float], width: float) -> bool:
    """Is the interval of the median ratio of one pair narrower than ``width`` times the ratio?"""
    low, high = median_interval(ratios)
    return len(ratios) >= MIN_PAIR_ROUNDS and high - low <= width * low


def _take_pair(first: Path, second: Path, profile: HardwareProfile, rounds: int | None, across_inputs: bool) -> _Pair:
    """Rounds with one pair of fresh workers, the first model's started before the second's."""
    limits = profile.measuring
    with Runner(first, profile) as a, Runner(second, profile) as b:
        require_alike(a.conditions(), b.conditions(), but="inputs" if across_inputs else None)
        turn_runs = prepare_turns(a, b)
        before, start = [a.state(), b.state()], time.monotonic()
        ratios: list[float] = []
        runs = [NO_RUNS, NO_RUNS]
        while not _is_enough(ratios, rounds, time.monotonic() - start, limits):
            turns = [NO_RUNS, NO_RUNS]
            for k in (0, 1, 1, 0) if len(ratios) % 2 == 0 else (1, 0, 0, 1):
                turns[k] += (a, b)[k].run(turn_runs[k], limits.max_s)[1:]
            ratios.append(turns[0].median_s / turns[1].median_s)
            runs = [runs[0] + turns[0], runs[1] + turns[1]]
        contention = contention_between(before, [a.state(), b.state()])
        return _Pair(tuple(ratios), (runs[0], runs[1]), contention, (a.conditions(), b.conditions()))


def _is_enough(ratios: Sequence[float], rounds: int | None, elapsed_s: float, limits: MeasuringLimits) -> bool:
    """Has this pair of workers run enough rounds?"""
    if rounds is not None:
        return len(ratios) >= rounds
    if ratios and elapsed_s >= limits.max_s / limits.pairs:
        return True
    return is_narrow(ratios, _pair_width(limits)) if ratios else False


def _pair_width(limits: MeasuringLimits) -> float:
    """The mean over the pairs is known better than one pair by the root of their number."""
    return limits.ci_width * math.sqrt(limits.pairs)


def _stop_reason(pairs: Sequence[Sequence[float]], limits: MeasuringLimits) -> str:
    _, low, high = estimate_ratio(pairs)
    if high - low <= limits.ci_width * low:
        return "interval"
    return "pairs" if all(is_narrow(ratios, _pair_width(limits)) for ratios in pairs) else "time limit"
