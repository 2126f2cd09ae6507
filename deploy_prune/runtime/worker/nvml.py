"""Clocks, power, heat and what holds the clock back on an NVIDIA card, from its driver's library NVML through ctypes.

The library comes with the driver, so nothing is installed for it where models are measured. Names, signatures and
numbers are those of the NVML API reference, which a test compares with NVIDIA's own Python package. Not run on a GPU
yet. Jetsons before JetPack 7 have no NVML and give nothing here; their sensors are read elsewhere.
"""

from __future__ import annotations

import contextlib
import ctypes
import threading
import time
from collections.abc import Iterator
from typing import Any

from deploy_prune.runtime.worker.cuda_runtime import device_address, device_name, open_library

LIBRARY = "libnvidia-ml.so.1"
SUCCESS = 0  # nvmlReturn_t
CLOCK_SM, CLOCK_MEMORY = 1, 2  # nvmlClockType_t
TEMPERATURE_GPU = 0  # nvmlTemperatureSensors_t
# The older name is that of drivers before 535; both return the same bits.
REASONS = ("nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetCurrentClocksThrottleReasons")
# A reading takes up to some milliseconds of the driver's, and turns of a comparison last twenty.
SAMPLE_EVERY_S = 0.2


class Nvml:
    """The card at an address of the PCI bus."""

    def __init__(self, library: ctypes.CDLL, card: ctypes.c_void_p) -> None:
        self._library, self._card = library, card
        self._reasons = next((name for name in REASONS if hasattr(library, name)), REASONS[0])

    def read(self) -> dict[str, int | None]:
        """What the driver says now; None for what it does not say.

        ``sm_mhz`` and ``memory_mhz`` are clocks. ``power_mw`` is the card's draw, from Ampere on (but for the GA100)
        the average over a second. ``reasons`` are the bits of what keeps the clock below its highest.
        """
        return {
            "sm_mhz": self._ask("nvmlDeviceGetClockInfo", ctypes.c_uint, CLOCK_SM),
            "memory_mhz": self._ask("nvmlDeviceGetClockInfo", ctypes.c_uint, CLOCK_MEMORY),
            "power_mw": self._ask("nvmlDeviceGetPowerUsage", ctypes.c_uint),
            "temperature_c": self._ask("nvmlDeviceGetTemperature", ctypes.c_uint, TEMPERATURE_GPU),
            "reasons": self._ask(self._reasons, ctypes.c_ulonglong),
        }

    def _ask(self, function: str, kind: Any, *which: int) -> int | None:
        answer = kind()
        if not hasattr(self._library, function):
            return None
        code = getattr(self._library, function)(self._card, *which, ctypes.byref(answer))
        return answer.value if code == SUCCESS else None


def open_card() -> Nvml | None:
    """The card that CUDA calls the first; None where there is no NVML, or it does not know it.

    NVML counts cards in an order of its own and does not heed CUDA_VISIBLE_DEVICES, hence the address.
    """
    library, address = open_library(LIBRARY), device_address()
    if library is None or address is None or library.nvmlInit_v2() != SUCCESS:
        return None
    card = ctypes.c_void_p()
    if library.nvmlDeviceGetHandleByPciBusId_v2(address.encode("ascii"), ctypes.byref(card)) != SUCCESS:
        return None
    return Nvml(library, card)


def describe_card() -> dict[str, Any] | None:
    """The name of the card that CUDA calls the first, and its readings; None where there is no card."""
    name, card = device_name(), open_card()
    return None if name is None else {"name": name, **(card.read() if card is not None else {})}


class GpuWatch:
    """Readings of the card that models run on, kept until they are asked for.

    Where the runs are this process's own, a thread would disturb them: it reads right behind them, while the card
    still has the clock that it ran them with. Where another process makes them, it reads beside them.
    """

    def __init__(self, card: Nvml | None) -> None:
        self._card, self._next_s = card, 0.0
        self._readings: list[dict[str, int | None]] = []

    def take(self) -> None:
        """Read the card, unless it has been read just now."""
        now_s = time.monotonic()
        if self._card is not None and now_s >= self._next_s:
            self._readings.append(self._card.read())
            self._next_s = now_s + SAMPLE_EVERY_S

    @contextlib.contextmanager
    def beside(self) -> Iterator[None]:
        """Read the card again and again, in a thread, until the runs of another process have ended."""
        ended = threading.Event()

        def read() -> None:
            while not ended.wait(SAMPLE_EVERY_S):
                self.take()

        reader = threading.Thread(target=read, name="gpu-readings", daemon=True)
        reader.start()
        try:
            yield
        finally:
            ended.set()
            reader.join()

    def hand_over(self) -> list[dict[str, int | None]]:
        """The readings since the last time, at least one; nothing without a card."""
        if self._card is not None and not self._readings:
            self._readings.append(self._card.read())
        readings, self._readings = self._readings, []
        return readings
