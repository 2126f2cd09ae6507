"""The loss of one group over its width, from a few measurements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy.interpolate import PchipInterpolator

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Curve:
    """A loss that never rises with the width, zero at the full width and through what was measured at others.

    Between measurements it is the monotone cubic of Fritsch and Carlson (SIAM J. Numer. Anal. 17, 1980) through their
    square roots: losses grow with about the square of what is removed. A measurement below that of a wider width
    counts as that one's, since noise and not the network makes removal help.

    Attributes:
        widths: the choices, ascending, the last being the full width.
        measured: loss at some of them.
    """

    widths: tuple[int, ...]
    measured: Mapping[int, float] = field(default_factory=dict)

    def losses(self) -> tuple[float, ...]:
        """The loss at every width from the narrowest measured one on; narrower ones count as that."""
        return tuple(_interpolate(self.widths, self.measured, self.widths).tolist())

    def next_width(self) -> int | None:
        """Where to measure next: the narrowest width, then amid the largest part of the curve that is unknown.

        A part counts by the rise of the loss's square root over it times the widths inside; None if all are known.
        """
        if len(self.widths) == 1:
            return None
        if not self.measured:
            return self.widths[0]
        known = sorted({self.widths.index(w) for w in self.measured} | {len(self.widths) - 1})
        roots = np.sqrt(self.losses())
        gaps = [(roots[a] - roots[b], b - a - 1, (a + b) // 2) for a, b in pairwise(known)]
        _, inside, middle = max(gaps, key=lambda gap: (gap[1] > 0, gap[0] * gap[1], gap[1]))
        return self.widths[middle] if inside else None

    def leave_one_out(self) -> tuple[tuple[float, float], ...]:
        """Measured loss and what the curve would say without it, at each measured width but the narrowest."""
        inner = sorted(self.measured)[1:]
        monotone = dict(zip(self.widths, self.losses(), strict=True))
        found = []
        for width in inner:
            rest = {w: loss for w, loss in self.measured.items() if w != width}
            found.append((monotone[width], float(_interpolate(self.widths, rest, (width,))[0])))
        return tuple(found)


def _interpolate(choices: Sequence[int], measured: Mapping[int, float], at: Sequence[int]) -> Floats:
    full = choices[-1]
    known = sorted({**measured, full: 0.0}.items(), reverse=True)
    widths = np.array([w for w, _ in known][::-1], dtype=float)
    losses = np.maximum.accumulate([max(loss, 0.0) for _, loss in known])[::-1]
    if len(widths) == 1:
        return np.zeros(len(at))
    inside = np.clip(np.array(at, dtype=float), widths[0], full)
    found = np.square(PchipInterpolator(widths, np.sqrt(losses))(inside))
    exact = dict(zip(widths.tolist(), losses.tolist(), strict=True))
    return np.array([exact.get(float(w), value) for w, value in zip(at, found, strict=True)])
