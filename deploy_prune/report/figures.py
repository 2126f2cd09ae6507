"""Numbers as people read them, the same in the terminal, on the page and in the plots."""

import math
from collections.abc import Sequence


def milliseconds(value_ms: float) -> str:
    """``5.43 ms``; three significant digits, no less than 0.01."""
    digits = 2 if value_ms < 10 else 1 if value_ms < 100 else 0
    return f"{value_ms:.{digits}f} ms"


def count(value: int) -> str:
    """``4.37 G``, ``3.01 M``, ``812``."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:.2f} {unit}"
    return str(value)


def size(value_bytes: int) -> str:
    """``11.65 MiB``, ``812 B``."""
    for unit, scale in (("MiB", 2**20), ("KiB", 2**10)):
        if value_bytes >= scale:
            return f"{value_bytes / scale:.2f} {unit}"
    return f"{value_bytes} B"


def ratio(value: float) -> str:
    """``2.07×``."""
    return f"{value:.2f}×"


def limit(value: float) -> str:
    """``1.234``, ``12.34``, ``1234``: four significant digits."""
    return f"{value:#.4g}".rstrip(".") if value < 1e4 else f"{value:.0f}"


def bounded(loss: float, bound: float | None) -> tuple[str, str, str]:
    """A loss, its lower bound and the gap between them as a share of the loss: ``0.1234``, ``0.1230``, ``0.32 %``."""
    if bound is None:
        return f"{loss:.4g}", "", ""
    gap = 0.0 if loss == bound else (loss - bound) / max(abs(loss), 1e-300)
    return f"{loss:.4g}", f"{bound:.4g}", f"{100 * gap:.2f} %"


def rounded_to_sum(values: Sequence[float], total: float, digits: int) -> tuple[list[float], float]:
    """Values and total at ``digits`` decimals such that what is printed adds up exactly (largest remainders).

    Each value is rounded down or up; ``total`` has to be the values' sum.
    """
    scale = 10**digits
    floors = [math.floor(value * scale) for value in values]
    whole = round(total * scale)
    order = sorted(range(len(values)), key=lambda k: values[k] * scale - floors[k], reverse=True)
    for k in order[: max(whole - sum(floors), 0)]:
        floors[k] += 1
    return [floor / scale for floor in floors], whole / scale


def digits_of(total_ms: float) -> int:
    """Decimals that show a total to four significant digits at least."""
    return 4 if total_ms < 1 else 3 if total_ms < 10 else 2 if total_ms < 100 else 1
