"""A latency budget, and several of them as a person types them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from deploy_prune.errors import InputError

_FORM = re.compile(r"([0-9]*\.?[0-9]+)\s*(x|×|ms|)", re.IGNORECASE)


@dataclass(frozen=True)
class Budget:
    """A latency in seconds, or a speed-up over the dense model; exactly one is set."""

    latency_s: float | None = None
    speedup: float | None = None

    @classmethod
    def of(cls, *, latency_ms: float | None = None, speedup: float | None = None) -> Budget:
        """Check a budget as a person gives it.

        Raises:
            InputError: both or none are given, or a value that is no budget.
        """
        if (latency_ms is None) == (speedup is None):
            raise InputError(f"got latency_ms={latency_ms} and speedup={speedup}; give exactly one of them")
        if latency_ms is not None and not latency_ms > 0:
            raise InputError(f"latency_ms is {latency_ms}; give a latency above 0 ms")
        if speedup is not None and not speedup > 1:
            raise InputError(f"speedup is {speedup}; give a factor above 1, such as 2")
        return cls(None if latency_ms is None else latency_ms / 1e3, speedup)

    def in_seconds(self, dense_s: float) -> float:
        """The latency allowed when the dense model takes ``dense_s``."""
        if self.latency_s is not None:
            return self.latency_s
        assert self.speedup is not None
        return dense_s / self.speedup

    @property
    def latency_ms(self) -> float | None:
        """The latency in milliseconds, None for a speed-up."""
        return None if self.latency_s is None else round(1e3 * self.latency_s, 9)

    @property
    def name(self) -> str:
        """``2x`` or ``8ms``: short, and the name of a folder."""
        return f"{self.speedup:g}x" if self.latency_ms is None else f"{self.latency_ms:g}ms"


def parse_budgets(text: str) -> tuple[Budget, ...]:
    """Read ``1.5,2x,8ms``: plain numbers and those with x are speed-ups, those with ms are latencies.

    Raises:
        InputError: a part is no budget, or stands there twice.
    """
    budgets = []
    for part in (part.strip() for part in text.split(",")):
        found = _FORM.fullmatch(part)
        if found is None:
            raise InputError(f"budget {part!r}: expected a speed-up such as 2 or 2x, or a latency such as 8ms")
        value, is_latency = float(found[1]), found[2].lower() == "ms"
        budgets.append(Budget.of(latency_ms=value) if is_latency else Budget.of(speedup=value))
    return refuse_repeated(budgets)


def refuse_mixed(budgets: str | None, speedup: float | None, latency_ms: float | None) -> None:
    """Refuse several budgets beside a single one; ``InputError`` names what was given."""
    if budgets is not None and (speedup is not None or latency_ms is not None):
        single = f"--speedup {speedup:g}" if speedup is not None else f"--latency-ms {latency_ms:g}"
        raise InputError(f"got --budgets {budgets} and {single}; give one of them")


def refuse_repeated(budgets: Sequence[Budget]) -> tuple[Budget, ...]:
    """The budgets as given; ``InputError`` if one of them stands there twice, or there is none."""
    names = [budget.name for budget in budgets]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"the budget {name} is given {names.count(name)} times; give each once")
    if not names:
        raise InputError("no budget is given; give a speed-up such as 2 or a latency in milliseconds")
    return tuple(budgets)


def mildest_first(budgets: Sequence[Budget], dense_s: float) -> tuple[Budget, ...]:
    """The order in which each budget's plans lie near those measured for the one before; what is out of reach is last.

    ``dense_s`` is the dense model's latency in seconds.
    """
    return tuple(sorted(budgets, key=lambda budget: budget.in_seconds(dense_s), reverse=True))
