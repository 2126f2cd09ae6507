"""How a pruning ratio is spread over steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence

Scheduler = Callable[[float, int], Sequence[float]]
"""``f(ratio, steps)`` -> the ratios after 0, 1, … steps, rising to ``ratio``."""


def linear_scheduler(pruning_ratio: float, steps: int) -> list[float]:
    """Equal shares of the dense width in every step: ``0, ratio/steps, …, ratio``."""
    return [pruning_ratio * k / steps for k in range(steps + 1)]
