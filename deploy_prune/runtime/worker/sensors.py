"""Power draw, over-current and under-voltage, where a board has sensors for them.

The paths are the kernel's (Documentation/hwmon/ina3221.rst), the counters and the commands those of NVIDIA's and
Raspberry Pi's documentation; none has been read on such a board yet. What is not there gives nothing.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from pathlib import Path

# Power monitors of Jetsons; Thor has the second.
MONITORS = ("ina3221", "ina238")
_TIMEOUT_S = 5.0


def read_rails_w(root: Path) -> dict[str, float]:
    """Watts of each labelled rail: its volts (``in*_input``, in mV) times its amperes (``curr*_input``, in mA)."""
    rails = {}
    for folder in sorted(root.glob("sys/class/hwmon/hwmon*")):
        if _read(folder / "name") not in MONITORS:
            continue
        for label in sorted(folder.glob("in*_label")):
            number = label.name[len("in") : -len("_label")]
            volts, amperes = _read(folder / f"in{number}_input"), _read(folder / f"curr{number}_input")
            if volts.isdigit() and amperes.isdigit():
                rails[_read(label)] = int(volts) * int(amperes) / 1e6
    return rails


def count_overcurrents(root: Path) -> dict[str, int]:
    """How often each over-current limit of a Jetson has slowed it down since it started."""
    found = {path.name: _read(path) for path in sorted(root.glob("sys/class/hwmon/hwmon*/oc*_event_cnt"))}
    return {name: int(text) for name, text in found.items() if text.isdigit()}


def ask_throttled() -> str:
    """A Raspberry Pi's ``throttled=0x0``; empty elsewhere."""
    if shutil.which("vcgencmd") is None:
        return ""
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        done = subprocess.run(
            ["vcgencmd", "get_throttled"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            text=True, timeout=_TIMEOUT_S, check=False,
        )  # fmt: skip
        return done.stdout
    return ""


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""
