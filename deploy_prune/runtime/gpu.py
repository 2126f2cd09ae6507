"""What an NVIDIA card's driver said while models ran on it: clocks, power, heat, and what held the clock back."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from deploy_prune.runtime.span import find_span

# nvmlClocksEventReasons (NVML API reference): what keeps a clock below its highest. These make a run slower ...
SLOWED_BY = {
    0x4: "its power limit",
    0x8: "the hardware, for heat or power",
    0x10: "another card of its group",
    0x20: "heat",
    0x40: "heat, by the hardware",
    0x80: "the brake of its power supply",
}
# ... and with this one nothing runs, so that the clock is that of no run. Others are settings of the user's.
IDLE = 0x1
# A clock that stays within this share of its highest reading has not changed.
MAX_CLOCK_DROP = 0.05


@dataclasses.dataclass(frozen=True)
class GpuReadings:
    """The lowest and the highest reading of each sensor; None for what the driver does not tell.

    ``clock_hz`` is the clock of the multiprocessors, ``memory_clock_hz`` that of the memory; readings of an idle card
    do not count for them. ``power_w`` is the card's draw, which most drivers average over a second. ``slowed_by``: what
    the driver says has held the clock back, in words. ``readings`` is how many there were.
    """

    readings: int
    clock_hz: tuple[int | None, int | None]
    memory_clock_hz: tuple[int | None, int | None]
    power_w: tuple[float | None, float | None]
    temperature_c: tuple[int | None, int | None]
    slowed_by: tuple[str, ...]

    @property
    def disturbances(self) -> tuple[str, ...]:
        """What of it makes a measurement doubtful, in words."""
        found = [f"the GPU was held back by {reason}" for reason in self.slowed_by]
        low, high = self.clock_hz
        if low is not None and high is not None and low < (1 - MAX_CLOCK_DROP) * high:
            found.append(f"the GPU's clock went between {low / 1e9:.2f} and {high / 1e9:.2f} GHz")
        return tuple(found)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> GpuReadings:
        """The inverse of ``dataclasses.asdict``, also after a way through JSON."""
        values: dict[str, Any] = {k: tuple(value) if isinstance(value, list) else value for k, value in data.items()}
        return cls(**values)


def gather_readings(readings: Sequence[Mapping[str, int | None]]) -> GpuReadings | None:
    """All readings of one measurement, as the worker sends them; None when there are none."""
    if not readings:
        return None
    running = [reading for reading in readings if not (reading["reasons"] or 0) & IDLE]
    seen = {bit for bit in SLOWED_BY for reading in readings if (reading["reasons"] or 0) & bit}
    return GpuReadings(
        readings=len(readings),
        clock_hz=find_span(_scaled(running, "sm_mhz", 1_000_000)),
        memory_clock_hz=find_span(_scaled(running, "memory_mhz", 1_000_000)),
        power_w=find_span(None if r["power_mw"] is None else r["power_mw"] / 1000 for r in readings),
        temperature_c=find_span(reading["temperature_c"] for reading in readings),
        slowed_by=tuple(words for bit, words in SLOWED_BY.items() if bit in seen),
    )


def join_readings(parts: Sequence[GpuReadings | None]) -> GpuReadings | None:
    """Several measurements as one."""
    known = [part for part in parts if part is not None]
    if not known:
        return None
    return GpuReadings(
        readings=sum(part.readings for part in known),
        clock_hz=find_span(reading for part in known for reading in part.clock_hz),
        memory_clock_hz=find_span(reading for part in known for reading in part.memory_clock_hz),
        power_w=find_span(reading for part in known for reading in part.power_w),
        temperature_c=find_span(reading for part in known for reading in part.temperature_c),
        slowed_by=tuple(dict.fromkeys(words for part in known for words in part.slowed_by)),
    )


def _scaled(readings: Sequence[Mapping[str, int | None]], name: str, scale: int) -> list[int | None]:
    values = [reading[name] for reading in readings]
    return [None if value is None else value * scale for value in values]
