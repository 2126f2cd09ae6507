"""What this machine is: processor, instruction sets, cores, clocks, memory, operating system."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import platform
from pathlib import Path

# The instruction sets that engines choose their kernels by (x86: cpuinfo "flags", ARM: cpuinfo "Features").
KERNEL_FLAGS = (
    "avx", "avx2", "fma", "f16c", "avx_vnni",
    "avx512f", "avx512bw", "avx512vl", "avx512_vnni", "avx512_bf16", "avx512_fp16",
    "amx_tile", "amx_int8", "amx_bf16",
    "asimd", "asimdhp", "asimddp", "i8mm", "bf16", "sve", "sve2",
)  # fmt: skip
_ARCHITECTURES = {"AMD64": "x86_64", "arm64": "aarch64"}  # other systems' names for Linux's


@dataclasses.dataclass(frozen=True)
class Machine:
    """A machine as its kernel describes it; what the kernel does not say is None.

    Frequencies are in hertz and are the limits of the governor in force, not what the clock was during a run.
    """

    processor: str
    architecture: str
    flags: tuple[str, ...]
    cores: int
    usable_cores: int
    governor: str | None
    min_frequency_hz: int | None
    max_frequency_hz: int | None
    memory_bytes: int | None
    os: str

    @property
    def fingerprint(self) -> str:
        """Twelve hex digits of SHA-256 over the hardware alone, equal from boot to boot.

        The governor, the kernel and the cores left to this process may change without the machine being
        another.
        """
        memory_gib = None if self.memory_bytes is None else round(self.memory_bytes / 2**30)
        hardware = [self.processor, self.architecture, sorted(self.flags), self.cores, memory_gib]
        return hashlib.sha256(json.dumps(hardware).encode()).hexdigest()[:12]

    def to_dict(self) -> dict[str, object]:
        """Fields and fingerprint, ready for JSON."""
        return {**dataclasses.asdict(self), "fingerprint": self.fingerprint}


@dataclasses.dataclass(frozen=True)
class System:
    """What an operating system tells a process, rather than its files."""

    architecture: str
    processor: str
    cores: int
    usable_cores: int
    os: str


def this_system() -> System:
    """What the operating system tells this process."""
    return System(
        platform.machine(),
        platform.processor(),
        os.cpu_count() or 1,
        _count_usable_cores(),
        f"{platform.system()} {platform.release()}",
    )


def detect_machine(root: Path = Path("/"), system: System | None = None) -> Machine:
    """Describe the machine from ``proc`` and ``sys`` under ``root``; never raises for what it cannot find.

    Args:
        root: where the files are; for another machine, those that it has sent.
        system: what that machine's system says; None: this one's.
    """
    system = system or this_system()
    cpuinfo = _read_cpuinfo(root / "proc/cpuinfo")
    clocks = root / "sys/devices/system/cpu/cpu0/cpufreq"
    present = set((cpuinfo.get("flags") or cpuinfo.get("Features") or "").split())
    board = _read_text(root / "proc/device-tree/model")
    return Machine(
        processor=board or cpuinfo.get("model name") or system.processor or system.architecture,
        architecture=_ARCHITECTURES.get(system.architecture, system.architecture),
        flags=tuple(flag for flag in KERNEL_FLAGS if flag in present),
        cores=system.cores,
        usable_cores=system.usable_cores,
        governor=_read_text(clocks / "scaling_governor"),
        min_frequency_hz=_read_khz(clocks / "scaling_min_freq"),
        max_frequency_hz=_read_khz(clocks / "scaling_max_freq"),
        memory_bytes=_read_memory_bytes(root / "proc/meminfo"),
        os=system.os,
    )


def _read_text(path: Path) -> str | None:
    try:
        return path.read_text(errors="replace").strip("\0 \n") or None
    except OSError:
        return None


def _read_cpuinfo(path: Path) -> dict[str, str]:
    """The first processor's block; later blocks repeat it."""
    fields: dict[str, str] = {}
    for line in (_read_text(path) or "").splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())
    return fields


def _read_khz(path: Path) -> int | None:
    text = _read_text(path)
    return int(text) * 1000 if text and text.isdigit() else None


def _read_memory_bytes(path: Path) -> int | None:
    for line in (_read_text(path) or "").splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) * 1024
    return None


def _count_usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
