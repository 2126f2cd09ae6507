"""Two models against each other: the ratio of their latencies, its interval, and a verdict."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from scipy import stats

from deploy_prune.runtime.timing import CONFIDENCE, Timing

Verdict = Literal["faster", "slower", "same", "ambiguous"]
RESAMPLES = 2000


@dataclasses.dataclass(frozen=True)
class Comparison:
    """How much faster the candidate is than the baseline.

    ``round_ratios`` holds baseline / candidate for each round; ``speedup`` is their median and ``low``,
    ``high`` its 95 % bootstrap interval. ``tolerance`` is the share of 1 that counts as no difference: the
    noise floor where a null test found it, the interval width that the profile asks for otherwise. ``noise``
    is that noise floor: how far from 1 the interval of the baseline against itself reached, None without a
    null test.
    """

    round_ratios: tuple[float, ...]
    speedup: float
    low: float
    high: float
    tolerance: float
    noise: float | None
    baseline: Timing
    candidate: Timing

    @property
    def verdict(self) -> Verdict:
        """See ``judge``."""
        return judge(self.low, self.high, self.tolerance)

    def to_dict(self) -> dict[str, Any]:
        """All fields and the verdict, ready for JSON."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {
            **fields,
            "round_ratios": list(self.round_ratios),
            "verdict": self.verdict,
            "baseline": self.baseline.to_dict(),
            "candidate": self.candidate.to_dict(),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Comparison:
        """The inverse of ``to_dict``, also after a way through JSON."""
        values = {name: value for name, value in data.items() if name != "verdict"}
        values["round_ratios"] = tuple(values["round_ratios"])
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


def ratio_interval(ratios: Sequence[float]) -> tuple[float, float]:
    """95 % bootstrap interval of the median over rounds; seeded, so that equal data judge alike."""
    if len(set(ratios)) == 1:  # nothing to resample
        return ratios[0], ratios[0]
    interval = stats.bootstrap(
        (ratios,),
        np.median,
        confidence_level=CONFIDENCE,
        n_resamples=RESAMPLES,
        method="percentile",
        random_state=0,
    ).confidence_interval
    return float(interval.low), float(interval.high)
