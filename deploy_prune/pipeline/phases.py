"""Where the time of a search goes."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from deploy_prune.report.front import PhaseTime

ANALYSIS, PROFILING, PRICING = "analysis", "profiling", "pricing"
SOLVING, MEASURING, VERIFYING, WRITING = "solving", "measuring", "verifying", "writing"
RECOVERING = "recovering"


@dataclass(eq=False)
class PhaseClock:
    """Seconds of wall time spent in each phase since the last :meth:`take`."""

    _spent_s: dict[str, float] = field(default_factory=dict)

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count the time of the block, however it ends, to a phase; blocks do not contain each other."""
        start = time.monotonic()
        try:
            yield
        finally:
            self._spent_s[name] = self._spent_s.get(name, 0.0) + time.monotonic() - start

    def take(self) -> tuple[PhaseTime, ...]:
        """What was spent, in the order in which phases began; counting starts anew."""
        spent = tuple(PhaseTime(name, duration_s) for name, duration_s in self._spent_s.items())
        self._spent_s.clear()
        return spent
