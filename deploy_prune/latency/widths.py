"""The widths worth having: those at the steps of a device's kernels."""

from collections.abc import Sequence

import numpy as np

from deploy_prune.errors import InputError

# Channel blocks of vector units and matrix units are powers of two (AVX2 8, AVX-512 16, Tensor Cores 8 to
# 64).
_STEPS = (1, 2, 4, 8, 16, 32, 64)


def useful_widths(full: int, step: int, minimum: int = 1) -> tuple[int, ...]:
    """Multiples of ``step`` from ``minimum`` up to below ``full``, then ``full`` itself; ascending.

    Raises ``InputError`` for a step or a full width below one.
    """
    if step < 1 or full < 1:
        raise InputError(f"got full width {full} and step {step}, expected both to be at least 1")
    first = -(-max(minimum, 1) // step) * step
    return (*range(first, full, step), full)


def detect_step(widths: Sequence[int], times_s: Sequence[float], *, noise: float = 0.015) -> int:
    """The step of a measured staircase: the width that time is constant within, 1 if no step is seen.

    ``noise`` is the usual relative deviation of the times. Each candidate step is a model with one level per step; the
    one chosen has the least misfit plus ``log n`` per level (Schwarz 1978), and the larger of two that tell the same
    story. Levels are medians and the misfit is Cauchy's, ``log(1 + r**2)``, so that one spoilt measurement does not
    make a level of its own. Sample several widths within a step, or no step can be seen. Raises ``InputError`` for
    fewer than three measurements.
    """
    if len(widths) != len(times_s) or len(widths) < 3:
        raise InputError(f"got {len(widths)} widths and {len(times_s)} times, expected three or more of both")
    at, times = np.asarray(widths), np.asarray(times_s, dtype=float)
    best_score, best_step = np.inf, 1
    for step in _STEPS:
        levels, which = np.unique(-(-at // step), return_inverse=True)
        if step > 1 and len(levels) == len(at):
            continue
        medians = np.array([np.median(times[which == k]) for k in range(len(levels))])
        misfit = np.log1p(((times / medians[which] - 1) / noise) ** 2).sum()
        score = float(misfit) + len(levels) * np.log(len(at))
        if score <= best_score:
            best_score, best_step = score, step
    return best_step
