"""What a machine says about itself, as raw text; the client makes sense of it (``deploy_prune.hardware``)."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import subprocess
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from deploy_prune.runtime.worker.refusal import RefusedError
from deploy_prune.runtime.worker.tensorrt_flags import show_version
from deploy_prune.runtime.worker.trtexec_engine import ask_version, find_trtexec

FILES = (
    "proc/cpuinfo",
    "proc/meminfo",
    "proc/device-tree/model",
    "proc/device-tree/compatible",
    "etc/nv_tegra_release",
    "sys/devices/system/cpu/intel_pstate/no_turbo",
    "sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_governor",
    "sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_min_freq",
    "sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_max_freq",
    "sys/class/devfreq/*gpu*/min_freq",
    "sys/class/devfreq/*gpu*/max_freq",
    "sys/class/thermal/thermal_zone*/type",
    "sys/class/thermal/thermal_zone*/temp",
)
# Any of these is there where an NVIDIA driver has a GPU: a card's character device, or a Jetson's.
GPU_FILES = ("dev/nvidia0", "dev/nvhost-gpu", "dev/nvgpu")
COMMANDS = {"nvpmodel": ("nvpmodel", "-q"), "throttled": ("vcgencmd", "get_throttled")}
MAY_SET = ("sudo", "-n", "-l")
COMMAND_TIMEOUT_S = 10.0
_LIMIT_BYTES = 2**20


def read_device(engines: Sequence[str], root: Path, trtexec: str | None = None, brief: bool = False) -> dict[str, Any]:
    """The machine in raw texts.

    Args:
        engines: packages to look for.
        root: where ``proc``, ``sys``, ``dev`` and ``etc`` are.
        trtexec: the program, None: where it usually is.
        brief: leave out what cannot change from one model to the next and takes long to find.

    Returns the texts of ``FILES`` by path, the output of ``COMMANDS`` (None where one failed), the versions of those
    of the given packages that this Python finds, what the operating system says of cores and architecture, and the
    room left where caches are kept.
    """
    return {
        "files": {
            str(path.relative_to(root)): read_text(path) for pattern in FILES for path in sorted(root.glob(pattern))
        },
        "commands": {
            **{name: ask(command) for name, command in COMMANDS.items()},
            "sudo": None if brief else ask(MAY_SET),
        },
        "engines": {package: find_version(package) for package in engines if importlib.util.find_spec(package)},
        "trtexec": None if brief else find_trtexec_version(trtexec),
        "system": {
            "architecture": platform.machine(),
            "processor": platform.processor(),
            "cores": os.cpu_count() or 1,
            "usable_cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
            "os": f"{platform.system()} {platform.release()}",
            "python": platform.python_version(),
        },
        "gpu": any((root / name).exists() for name in GPU_FILES),
        "compiler": any(shutil.which(name) for name in (os.environ.get("CXX", "g++"), "clang++")),
        "free_bytes": shutil.disk_usage(str(Path.home())).free,
    }


def read_text(path: Path) -> str:
    """The text of a small file; empty where it may not be read."""
    try:
        with path.open("rb") as file:
            return file.read(_LIMIT_BYTES).decode("utf-8", errors="replace")
    except OSError:
        return ""


def ask(command: Sequence[str]) -> str | None:
    """What a command prints, None where it is missing, fails or hangs."""
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            timeout=COMMAND_TIMEOUT_S, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode("utf-8", errors="replace") if done.returncode == 0 else None


def find_trtexec_version(trtexec: str | None) -> str | None:
    """The version of the machine's trtexec, None where there is none that can be used."""
    try:
        return show_version(ask_version(find_trtexec(trtexec)))
    except (RefusedError, subprocess.TimeoutExpired):
        return None


def find_version(package: str) -> str | None:
    """Version of the installed distribution that brings a package, whatever the distribution's name."""
    for distribution in metadata.distributions():
        if package in (distribution.read_text("top_level.txt") or "").split():
            return distribution.version
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
