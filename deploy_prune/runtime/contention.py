"""Was the machine busy with something else, or held back by heat, while it measured?"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from deploy_prune.hardware.board import read_throttled

Number = TypeVar("Number", int, float)

# Below these, a load cannot be told from the system's own housekeeping (measured on an idle 2-core guest:
# others used up to 0.05 cores, nothing was stolen, and the worker waited for less than 0.5 % of the time).
MAX_OTHER_CORES = 0.2
MAX_STOLEN_CORES = 0.02
MAX_WAIT_SHARE = 0.02
# A clock that stays within this share of its highest reading has not changed (turbo moves in steps of 100 MHz).
MAX_CLOCK_DROP = 0.05
# Cooling devices that slow something down (kernel, Documentation/driver-api/thermal); others are fans.
_SLOWING = ("Processor", "cpufreq", "devfreq", "intel_powerclamp")


# The rail that feeds all others on a Jetson's module (NVIDIA, Jetson Linux developer guide, "Power monitor").
_WHOLE_RAIL = "VDD_IN"
_UNREAD = (None, None)


@dataclasses.dataclass(frozen=True)
class Contention:
    """What else the machine did during a measurement; what its kernel does not tell is None or empty.

    ``other_cores``: cores kept busy by other processes, on average; ``stolen_cores``: cores' worth of time
    that the hypervisor gave to other guests; ``wait_share``: share of the workers' run time that they were
    ready to run and had no core. ``throttles``: how often the processor says that it slowed down for heat;
    ``cooling``: the cooling devices that slowed something down at the start or at the end. ``load_average`` (1
    minute), ``pressure`` ("some avg10" in percent) and ``temperature_c`` (the hottest zone) are the readings at the
    start and at the end, ``frequency_hz`` the lowest and the highest reading of the fastest core's clock, ``power_w``
    those of what the board draws. ``events``: what a board's own watch over its supply and heat said, in words.
    """

    duration_s: float
    other_cores: float | None
    stolen_cores: float | None
    wait_share: float | None
    throttles: int | None
    cooling: tuple[str, ...]
    load_average: tuple[float | None, float | None]
    pressure: tuple[float | None, float | None]
    temperature_c: tuple[float | None, float | None]
    frequency_hz: tuple[int | None, int | None]
    power_w: tuple[float | None, float | None] = _UNREAD
    events: tuple[str, ...] = ()

    @property
    def contended(self) -> bool:
        """True when something passed its threshold (see ``reasons``); what is unknown does not."""
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
        low, high = self.frequency_hz
        if low is not None and high is not None and low < (1 - MAX_CLOCK_DROP) * high:
            found.append(f"the clock went between {low / 1e9:.2f} and {high / 1e9:.2f} GHz")
        if self.throttles:
            found.append(f"the processor throttled {self.throttles} times")
        if self.cooling:
            found.append(f"heat held back {', '.join(self.cooling)}")
        found += [f"the board reports: {event}" for event in self.events]
        return tuple(found)

    def to_dict(self) -> dict[str, Any]:
        """Fields and verdict, ready for JSON."""
        return {**dataclasses.asdict(self), "contended": self.contended}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Contention:
        """The inverse of ``to_dict``, also after a way through JSON."""
        values: dict[str, Any] = {name: value for name, value in data.items() if name != "contended"}
        for name in ("cooling", "load_average", "pressure", "temperature_c", "frequency_hz", "power_w", "events"):
            if name in values:  # the last two are younger than the first measurements that were kept
                values[name] = tuple(values[name])
        return cls(**values)


UNOBSERVED = Contention(0.0, None, None, None, None, (), _UNREAD, _UNREAD, _UNREAD, _UNREAD)


def contention_between(
    before: Sequence[Mapping[str, Any]],
    after: Sequence[Mapping[str, Any]],
    between: Sequence[Mapping[str, Any]] = (),
) -> Contention:
    """Compare the ``state`` replies of all workers of one measurement at its start and at its end.

    Args:
        before: one reply per worker, taken together.
        after: the replies of the same workers, in the same order.
        between: replies of any worker from in between, for the clocks.
    """
    first, last = before[0], after[0]
    duration_s = last["time_s"] - first["time_s"]
    own_s = sum(state["own_cpu_s"] for state in after) - sum(state["own_cpu_s"] for state in before)
    waits = [_read_wait_s(state["schedstat"]) for state in (*before, *after)]
    wait_share = other_cores = stolen_cores = None
    if None not in waits and own_s > 0:
        waited_s = sum(w or 0.0 for w in waits[len(before) :]) - sum(w or 0.0 for w in waits[: len(before)])
        wait_share = waited_s / (own_s + waited_s)
    ticks = [_read_ticks(state["stat"]) for state in (first, last)]
    if ticks[0] and ticks[1]:
        busy_s, stolen_s = ((b - a) / first["ticks_per_s"] for a, b in zip(*ticks, strict=True))
        other_cores, stolen_cores = max(0.0, busy_s - own_s) / duration_s, stolen_s / duration_s
    return Contention(
        duration_s=duration_s,
        other_cores=other_cores,
        stolen_cores=stolen_cores,
        wait_share=wait_share,
        throttles=_count_throttles(first, last),
        cooling=tuple(dict.fromkeys((*_read_cooling(first), *_read_cooling(last)))),
        load_average=(_read_load_average(first), _read_load_average(last)),
        pressure=(_read_pressure(first), _read_pressure(last)),
        temperature_c=(_read_temperature_c(first), _read_temperature_c(last)),
        frequency_hz=_span([_read_frequency_hz(state) for state in (first, *between, last)]),
        power_w=_span([_read_power_w(state) for state in (first, *between, last)]),
        events=_read_events([first, *between, last]),
    )


def contention_over(parts: Sequence[Contention]) -> Contention:
    """Several intervals as one: shares weighted by duration, counts summed, the readings of the first and the last."""
    duration_s = sum(part.duration_s for part in parts)
    throttles = [part.throttles for part in parts]

    def weigh(values: Sequence[float | None]) -> float | None:
        known = [(v, part.duration_s) for v, part in zip(values, parts, strict=True) if v is not None]
        return sum(v * d for v, d in known) / duration_s if len(known) == len(parts) else None

    return Contention(
        duration_s=duration_s,
        other_cores=weigh([part.other_cores for part in parts]),
        stolen_cores=weigh([part.stolen_cores for part in parts]),
        wait_share=weigh([part.wait_share for part in parts]),
        throttles=None if None in throttles else sum(count or 0 for count in throttles),
        cooling=tuple(dict.fromkeys(name for part in parts for name in part.cooling)),
        load_average=(parts[0].load_average[0], parts[-1].load_average[1]),
        pressure=(parts[0].pressure[0], parts[-1].pressure[1]),
        temperature_c=(parts[0].temperature_c[0], parts[-1].temperature_c[1]),
        frequency_hz=_span([reading for part in parts for reading in part.frequency_hz]),
        power_w=_span([reading for part in parts for reading in part.power_w]),
        events=tuple(dict.fromkeys(event for part in parts for event in part.events)),
    )


def _read_wait_s(schedstats: Sequence[str]) -> float | None:
    """Seconds that a process's threads were ready and had no core (second field, in nanoseconds)."""
    return sum(int(text.split()[1]) for text in schedstats) / 1e9 if schedstats else None


def _read_ticks(stat: Sequence[str]) -> tuple[int, int] | None:
    """Ticks of all cores since boot that went to processes and to other guests (proc(5), /proc/stat)."""
    if not stat:
        return None
    user, nice, system, _, _, irq, softirq, steal = (int(word) for word in stat[0].split()[1:9])
    return user + nice + system + irq + softirq, steal


def _read_load_average(state: Mapping[str, Any]) -> float | None:
    return float(state["loadavg"][0].split()[0]) if state["loadavg"] else None


def _read_pressure(state: Mapping[str, Any]) -> float | None:
    return float(state["pressure"][0].split("avg10=")[1].split()[0]) if state["pressure"] else None


def _count_throttles(first: Mapping[str, Any], last: Mapping[str, Any]) -> int | None:
    """By how much the counter rose that rose most; each core and each package has its own."""
    pairs = zip(first["throttles"], last["throttles"], strict=True)
    return max((int(after) - int(before) for before, after in pairs), default=None)


def _read_cooling(state: Mapping[str, Any]) -> list[str]:
    """Types of the cooling devices that slow something down now."""
    devices = zip((text.strip() for text in state["coolers"]), state["cooling"], strict=False)
    return [kind for kind, level in devices if int(level) > 0 and any(word in kind for word in _SLOWING)]


def _read_temperature_c(state: Mapping[str, Any]) -> float | None:
    """The kernel gives thousandths of a degree."""
    return max((int(text) / 1000 for text in state["temperatures"]), default=None)


def _read_power_w(state: Mapping[str, Any]) -> float | None:
    """What the whole board draws: the rail of the supply, else the sum of those that are measured."""
    rails = state["rails_w"]
    return rails.get(_WHOLE_RAIL, sum(rails.values())) if rails else None


def _read_events(states: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """What a Raspberry Pi says at any of these moments, and which limits of a Jetson's current were passed between."""
    now = [words for state in states for words in read_throttled(state["throttled"]) if "has " not in words]
    first, last = states[0]["overcurrents"], states[-1]["overcurrents"]
    passed = [f"over-current, {name} {last[name] - n} times" for name, n in first.items() if last.get(name, n) > n]
    return tuple(dict.fromkeys((*now, *passed)))


def _span(readings: Sequence[Number | None]) -> tuple[Number | None, Number | None]:
    known = [reading for reading in readings if reading is not None]
    return min(known, default=None), max(known, default=None)


def _read_frequency_hz(state: Mapping[str, Any]) -> int | None:
    return max((int(text) * 1000 for text in state["clocks"]), default=None)
