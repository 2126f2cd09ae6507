"""Which board a machine is: Jetson, Raspberry Pi, or another, from the files that its kernel and its system keep.

The names of modules and the versions of JetPack are those of NVIDIA's pages; no Jetson has been read by this yet.
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Literal

Kind = Literal["jetson", "raspberry pi", "x86", "other"]

# Part number in the device tree's "compatible" -> module (NVIDIA, Jetson Linux developer guide, "Module and carrier
# board specifications").
_MODULES = {
    "p3767-0000": "Orin NX 16GB",
    "p3767-0001": "Orin NX 8GB",
    "p3767-0003": "Orin Nano 8GB",
    "p3767-0004": "Orin Nano 4GB",
    "p3767-0005": "Orin Nano 8GB (developer kit)",
    "p3701-0000": "AGX Orin 32GB or 64GB (developer kit)",
    "p3701-0004": "AGX Orin 32GB",
    "p3701-0005": "AGX Orin 64GB",
    "p3834-0008": "AGX Thor T5000",
}
_CHIPS = {"tegra210": "Nano", "tegra194": "Xavier", "tegra234": "Orin", "tegra264": "Thor"}
# Jetson Linux -> JetPack (NVIDIA, Jetson Linux archive).
_JETPACKS = {
    "36.4.3": "6.2",
    "36.4.4": "6.2.1",
    "36.4.7": "6.2.1",
    "36.5.0": "6.2.2",
    "36.5.2": "6.2.3",
    "38.4.0": "7.1",
    "39.2.0": "7.2",
    "39.2.1": "7.2.1",
    "39.2.2": "7.2.2",
}
_RELEASE = re.compile(r"# R(\d+) \(release\), REVISION: ([\d.]+)")
# Bits of `vcgencmd get_throttled` (Raspberry Pi documentation, "vcgencmd").
_THROTTLED = {
    0: "under-voltage",
    1: "the clock is capped",
    2: "throttled",
    3: "the soft temperature limit is reached",
    16: "under-voltage has occurred",
    17: "the clock has been capped",
    18: "throttling has occurred",
    19: "the soft temperature limit has been reached",
}


@dataclasses.dataclass(frozen=True)
class Board:
    """A board as its files describe it; what they do not say, or what is not known here, is None.

    ``module`` and ``chip`` are a Jetson's, ``l4t`` its Jetson Linux ("36.4.3") and ``jetpack`` the JetPack with that.
    """

    kind: Kind
    model: str | None = None
    module: str | None = None
    chip: str | None = None
    l4t: str | None = None
    jetpack: str | None = None

    def describe(self) -> str:
        """One line for people."""
        name = {"jetson": "NVIDIA Jetson", "raspberry pi": "Raspberry Pi", "x86": "x86 machine", "other": "machine"}
        words = [self.model or name[self.kind]]
        words += [f"module {self.module}"] if self.module else []
        words += [f"Jetson Linux {self.l4t}"] if self.l4t else []
        words += [f"JetPack {self.jetpack}"] if self.jetpack else []
        return ", ".join(words)


def identify_board(root: Path, architecture: str) -> Board:
    """The board whose ``proc`` and ``etc`` are under ``root``; never raises for what is not there."""
    model = _read(root / "proc/device-tree/model") or None
    compatible = _read(root / "proc/device-tree/compatible")
    chip = next((name for code, name in _CHIPS.items() if code in compatible), None)
    release = _RELEASE.search(_read(root / "etc/nv_tegra_release"))
    if chip is not None or release is not None:
        module = next((name for code, name in _MODULES.items() if code in compatible), None)
        l4t = None if release is None else f"{release.group(1)}.{release.group(2)}"
        return Board("jetson", model, module, chip, l4t, _find_jetpack(l4t))
    if model is not None and "Raspberry Pi" in model:
        return Board("raspberry pi", model)
    return Board("x86" if architecture in ("x86_64", "AMD64", "i686") else "other", model)


def read_throttled(answer: str) -> tuple[str, ...]:
    """What a Raspberry Pi's ``vcgencmd get_throttled`` (``throttled=0x50005``) says, in words."""
    found = re.search(r"throttled=(0x[0-9a-fA-F]+)", answer)
    bits = int(found.group(1), 16) if found else 0
    return tuple(words for bit, words in _THROTTLED.items() if bits >> bit & 1)


def _find_jetpack(l4t: str | None) -> str | None:
    if l4t is None:
        return None
    return "7.0" if l4t.startswith("38.2.") else _JETPACKS.get(l4t)


def _read(path: Path) -> str:
    """Entries of a device tree end with NUL, and so do the items of a list."""
    try:
        return path.read_text(errors="replace").replace("\0", " ").strip()
    except OSError:
        return ""
