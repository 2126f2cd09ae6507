"""Timings: raw samples with the conditions they were taken under and their own doubt."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

from deploy_prune.errors import InputError
from deploy_prune.runtime.build import Build
from deploy_prune.runtime.contention import Contention

CONFIDENCE = 0.95
TOLD = frozenset({"profile", "contention", "build", "file_precision"})
"""Conditions that are recorded and not compared."""


@dataclasses.dataclass(frozen=True)
class Conditions:
    """All that a latency depends on besides the model; timings of unlike conditions never meet in one ratio.

    ``profile``, ``contention``, ``build`` and ``file_precision`` are told and not compared: two names may mean the same
    conditions, how busy the machine was is no choice of the user's, each model has an engine of its own (None: none is
    built), and the precision in which a file is written (None: not known) is the model's, which may be the question.
    ``inputs`` holds type and shape, such as ``float32[1, 3, 160, 160]``.

    ``mode`` is how the engine runs, where it has several ways. ``precision`` is the profile's, ``executed_precision``
    the engine's own word for what it computes in (None: it does not say). ``timer`` is "host" (a clock around the
    run) or "device events". ``clocks`` is "locked" or "observed", ``power_mode`` that of a Jetson.
    """

    profile: str
    machine: str
    processor: str
    governor: str | None
    power_mode: str | None
    clocks: str
    timer: str
    engine: str
    engine_version: str
    provider: str
    mode: str | None
    device: str
    threads: int
    spinning: bool
    affinity: tuple[int, ...] | None
    precision: str
    executed_precision: str | None
    batch: int
    inputs: tuple[str, ...]
    contention: Contention
    build: Build | None = None
    file_precision: str | None = None

    def differences(self, other: Conditions) -> dict[str, tuple[Any, Any]]:
        """The fields in which two conditions differ, with both values."""
        names = [f.name for f in dataclasses.fields(self) if f.name not in TOLD]
        pairs = {name: (getattr(self, name), getattr(other, name)) for name in names}
        return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}

    def to_dict(self) -> dict[str, Any]:
        """All fields, ready for JSON."""
        return {**dataclasses.asdict(self), "contention": self.contention.to_dict()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Conditions:
        """The inverse of ``to_dict``, also after a way through JSON."""
        affinity, build = data["affinity"], data.get("build")
        return cls(
            **{
                **data,
                "build": None if build is None else Build.from_dict(build),
                "affinity": None if affinity is None else tuple(affinity),
                "inputs": tuple(data["inputs"]),
                "contention": Contention.from_dict(data["contention"]),
            }
        )


@dataclasses.dataclass(frozen=True)
class Timing:
    """The runs of one model in seconds, in the order they were taken.

    ``samples_s`` counts the time on a core, and all statistics are over it; ``waits_s`` is how long the same
    runs were ready but had no core because another process was on it (known for one thread, otherwise 0).
    Their sum is what a clock on the wall showed; on a machine with nothing else to do the waits are 0.

    ``stop_reason`` is "interval" (the median, or the ratio, is known as well as the profile asks), "time limit",
    "pairs" (of a comparison: all pairs of workers have run, and they differ too much for that), or, where a number was
    asked for, "rounds" or "runs".
    """

    samples_s: tuple[float, ...]
    waits_s: tuple[float, ...]
    stop_reason: str
    conditions: Conditions

    @property
    def n(self) -> int:
        """Number of samples."""
        return len(self.samples_s)

    @property
    def median_s(self) -> float:
        """Median in seconds."""
        return float(np.median(self.samples_s))

    @property
    def p90_s(self) -> float:
        """90th percentile in seconds."""
        return float(np.percentile(self.samples_s, 90))

    @property
    def p99_s(self) -> float:
        """99th percentile in seconds."""
        return float(np.percentile(self.samples_s, 99))

    @property
    def iqr_s(self) -> float:
        """Distance of the quartiles in seconds."""
        low, high = np.percentile(self.samples_s, [25, 75])
        return float(high - low)

    @property
    def ci(self) -> tuple[float, float]:
        """95 % confidence interval of the median in seconds."""
        return median_interval(self.samples_s)

    def to_dict(self) -> dict[str, Any]:
        """All fields, ready for JSON."""
        return {
            "samples_s": list(self.samples_s),
            "waits_s": list(self.waits_s),
            "stop_reason": self.stop_reason,
            "conditions": self.conditions.to_dict(),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Timing:
        """The inverse of ``to_dict``, also after a way through JSON."""
        return cls(
            tuple(data["samples_s"]),
            tuple(data["waits_s"]),
            data["stop_reason"],
            Conditions.from_dict(data["conditions"]),
        )


def median_interval(samples: Sequence[float]) -> tuple[float, float]:
    """Order-statistics interval of the median at 95 %, in the samples' unit, for any distribution.

    The number of samples below the true median is binomial(n, 1/2), so the samples of rank k and n + 1 - k
    enclose it, where k is the largest rank with P(B < k) <= 2.5 % (Conover, Practical Nonparametric
    Statistics, section 3.2). Samples are taken to be independent; drift within a measurement makes the true
    doubt larger. With fewer than 6 samples no such k exists, and the range is all that can be said.
    """
    ordered = np.sort(np.asarray(samples))
    n = len(ordered)
    k = max(int(stats.binom.ppf((1 - CONFIDENCE) / 2, n, 0.5)), 1)
    return float(ordered[k - 1]), float(ordered[n - k])


def require_alike(first: Conditions, second: Conditions, *, but: str | None = None) -> None:
    """Refuse to compare timings of unlike conditions; ``but`` names a field that may differ.

    Raises:
        InputError: names every differing field with both values.
    """
    differences = {name: pair for name, pair in first.differences(second).items() if name != but}
    if differences:
        listed = ", ".join(f"{name} ({a} and {b})" for name, (a, b) in differences.items())
        raise InputError(
            f"these timings cannot be compared, their conditions differ in {listed}; "
            "measure both models under one profile on one machine"
        )
