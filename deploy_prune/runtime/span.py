"""The lowest and the highest of several readings."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

Number = TypeVar("Number", int, float)

UNREAD = (None, None)


def find_span(readings: Iterable[Number | None]) -> tuple[Number | None, Number | None]:
    """Lowest and highest of the readings that there are; ``UNREAD`` when there is none."""
    known = [reading for reading in readings if reading is not None]
    return min(known, default=None), max(known, default=None)
