"""Two models against each other: the ratio of their latencies, its interval, and a verdict."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from scipy import stats

from deploy_prune.runtime.timing import CONFIDENCE, Timing

Verdict = Literal["faster", "slower", "same", "ambiguous"]


@dataclasses.dataclass(frozen=True)
class Comparison:
    """How much faster the candidate is than the baseline.

    ``pairs`` holds, for each pair of workers, baseline / candidate in each round; ``speedup``, ``low`` and ``high`` are
    those of ``estimate_ratio``. ``tolerance`` is the share of 1 that counts as no difference: the
    noise floor where a null test found it, the interval width that the profile asks for otherwise. ``noise``
    is that noise floor: how far from 1 the interval of the baseline against itself reached, None without a
    null test.
    """

    pairs: tuple[tuple[float, ...], ...]
    speedup: float
    low: float
    high: float
    tolerance: float
    noise: float | None
    baseline: Timing
    candidate: Timing

    @property
    def round_ratios(self) -> tuple[float, ...]:
        """Baseline / candidate of every round, in the order they were taken."""
        return tuple(itertools.chain.from_iterable(self.pairs))

    @property
    def verdict(self) -> Verdict:
        """See ``judge``."""
        return judge(self.low, self.high, self.tolerance)

    def to_dict(self) -> dict[str, Any]:
        """All fields and the verdict, ready for JSON."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {
            **fields,
            "pairs": [list(ratios) for ratios in self.pairs],
            "verdict": self.verdict,
            "baseline": self.baseline.to_dict(),
            "candidate": self.candidate.to_dict(),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Comparison:
        """The inverse of ``to_dict``, also after a way through JSON."""
        values = {name: value for name, value in data.items() if name != "verdict"}
        values["pairs"] = tuple(map(tuple, values["pairs"]))
        values["baseline"] = Timing.from_dict(values["baseline"])
        values["candidate"] = Timing.from_dict(values["candidate"])
        return cls(**values)


def judge(low: float, high: float, tolerance: float) -> Verdict:
    """The verdict on a speed-up whose interval is [low, high].

    With t = tolerance: *faster* when the whole interval lies above 1 + t, *slower* when it lies below 1 / (1
    + t), *same* when it lies between the two, *ambiguous* when it crosses either.
    """
    above, below = 1 + tolerance, 1 / (1 + tolerance)
    if low > above:
        return "faster"
    if high < below:
        return "slower"
    return "same" if below <= low and high <= above else "ambiguous"


def estimate_ratio(pairs: Sequence[Sequence[float]]) -> tuple[float, float, float]:
    """The ratio and its 95 % interval, from the rounds of at least two pairs of workers: (ratio, low, high).

    Rounds of one pair of workers share what makes these two processes faster or slower for as long as they live, so
    they are no independent samples; pairs are. Each pair counts once, by the median of its rounds: the ratio is the
    geometric mean of these, the interval Student's t interval of their logarithms. In simulated comparisons this holds
    the truth in 94 to 96 % of the cases, resampling all rounds of 3 or 6 pairs in 84 or 86 %, the pairs in 74 or
    86 % (``benchmarks/null_coverage.py``, which also does it on a machine).
    """
    logarithms = np.log([np.median(ratios) for ratios in pairs])
    middle = float(logarithms.mean())
    spread = float(logarithms.std(ddof=1)) / np.sqrt(len(logarithms))
    reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(logarithms) - 1)) * spread
    ratio, low, high = np.exp([middle, middle - reach, middle + reach])
    return float(ratio), float(low), float(high)
