"""Was the machine busy with something else while it measured?"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

# Below these, a load cannot be told from the system's own housekeeping (measured on an idle 2-core guest:
# others used up to 0.05 cores, nothing was stolen, and the worker waited for less than 0.5 % of the time).
MAX_OTHER_CORES = 0.2
MAX_STOLEN_CORES = 0.02
MAX_WAIT_SHARE = 0.02


@dataclasses.dataclass(frozen=True)
class Contention:
    """What else the machine did during a measurement; what its kernel does not tell is None.

    ``other_cores``: cores kept busy by other processes, on average; ``stolen_cores``: cores' worth of time
    that the hypervisor gave to other guests; ``wait_share``: share of the workers' run time that they were
    ready to run and had no core. ``load_average`` (1 minute), ``pressure`` ("some avg10" in percent) and
    ``frequency_hz`` (highest core clock) are the readings at the start and at the end.
    """

    duration_s: float
    other_cores: float | None
    stolen_cores: float | None
    wait_share: float | None
    load_average: tuple[float | None, float | None]
    pressure: tuple[float | None, float | None]
    frequency_hz: tuple[int | None, int | None]

    @property
    def contended(self) -> bool:
        """True when one of the three shares passed its threshold (see ``reasons``); unknown ones do not."""
        return bool(self.reasons)

    @property
    def reasons(self) -> tuple[str, ...]:
        """What was seen, in words, for each threshold that was passed."""
        found = []
        if self.other_cores is not None and self.other_cores > MAX_OTHER_CORES:
            found.append(f"other processes used {self.other_cores:.1f} cores")
        if self.stolen_cores is not None and self.stolen_cores > MAX_STOLEN_CORES:
            found.append(f"the hypervisor took {self.stolen_cores:.2f} cores")
        if self.wait_share is not None and self.wait_share > MAX_WAIT_SHARE:
            found.append(f"the worker waited for a core {self.wait_share:.0%} of the time")
        return tuple(found)

    def to_dict(self) -> dict[str, Any]:
        """Fields and verdict, ready for JSON."""
        return {**dataclasses.asdict(self), "contended": self.contended}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Contention:
        """The inverse of ``to_dict``, also after a way through JSON."""
        values: dict[str, Any] = {name: value for name, value in data.items() if name != "contended"}
        for name in ("load_average", "pressure", "frequency_hz"):
            values[name] = tuple(values[name])
        return cls(**values)


UNOBSERVED = Contention(0.0, None, None, None, (None, None), (None, None), (None, None))


def contention_between(before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]) -> Contention:
    """Compare the ``state`` replies of all workers of one measurement at its start and at its end.

    Args:
        before: one reply per worker, taken together.
        after: the replies of the same workers, in the same order.
    """

    def grown(name: str) -> float | None:
        values = [state[name] for state in (*before, *after)]
        return None if None in values else sum(s[name] for s in after) - sum(s[name] for s in before)

    duration_s = after[0]["time_s"] - before[0]["time_s"]
    own_s, waited_s = grown("own_cpu_s"), grown("own_wait_s")
    other_cores = stolen_cores = None
    if before[0]["cpu_s"] and after[0]["cpu_s"] and own_s is not None:
        busy_s = after[0]["cpu_s"]["busy"] - before[0]["cpu_s"]["busy"]
        other_cores = max(0.0, busy_s - own_s) / duration_s
        stolen_cores = (after[0]["cpu_s"]["stolen"] - before[0]["cpu_s"]["stolen"]) / duration_s
    return Contention(
        duration_s=duration_s,
        other_cores=other_cores,
        stolen_cores=stolen_cores,
        wait_share=waited_s / (own_s + waited_s) if waited_s is not None and own_s else None,
        load_average=(before[0]["load_average"], after[0]["load_average"]),
        pressure=(before[0]["pressure"], after[0]["pressure"]),
        frequency_hz=(before[0]["frequency_hz"], after[0]["frequency_hz"]),
    )
