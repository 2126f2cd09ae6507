"""A machine that can be measured on, this one or another, as far as profiles and engines are concerned."""

from __future__ import annotations

import dataclasses
import os
import platform
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deploy_prune.hardware.board import Board, identify_board, read_throttled
from deploy_prune.hardware.engines import ENGINES
from deploy_prune.hardware.machine import Machine, System, detect_machine
from deploy_prune.hardware.power import PowerState, read_power

# Any of these is there where an NVIDIA driver has a GPU: a card's character device, or a Jetson's.
GPU_FILES = ("dev/nvidia0", "dev/nvhost-gpu", "dev/nvgpu")


@dataclasses.dataclass(frozen=True)
class Host:
    """What there is to measure with.

    ``engines`` are the versions (None: unknown) of the installed packages of engines. ``gpu``: an NVIDIA GPU has its
    driver. ``compiler``: there is a C++ compiler. ``trtexec`` is its version on another machine. ``may_set``: ``sudo
    -n`` runs some command; None: not tried. ``throttled``: what a Raspberry Pi says of its supply and its clock.
    ``free_bytes``: room for models, where known.
    """

    machine: Machine
    power: PowerState
    board: Board
    engines: Mapping[str, str | None]
    gpu: bool
    compiler: bool
    python: str
    trtexec: str | None = None
    may_set: bool | None = None
    throttled: tuple[str, ...] = ()
    temperature_c: float | None = None
    free_bytes: int | None = None


def local_host(root: Path = Path("/")) -> Host:
    """This machine, with ``proc``, ``sys``, ``dev`` and ``etc`` under ``root``."""
    machine = detect_machine(root)
    return Host(
        machine=machine,
        power=read_power(root),
        board=identify_board(root, machine.architecture),
        engines={facts.package: facts.version for facts in ENGINES.values() if facts.installed},
        gpu=any((root / name).exists() for name in GPU_FILES),
        compiler=any(shutil.which(name) for name in (os.environ.get("CXX", "g++"), "clang++")),
        python=platform.python_version(),
    )


def host_from_readings(readings: Mapping[str, Any]) -> Host:
    """Another machine, from what ``deploy_prune.runtime.worker.readings`` sends of it."""
    facts = dict(readings["system"])
    python, said = facts.pop("python"), readings["commands"]
    with tempfile.TemporaryDirectory(prefix="deploy-prune-") as folder:  # as files, to be read as this machine's are
        root = Path(folder)
        for name, text in readings["files"].items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        machine = detect_machine(root, System(**facts))
        return Host(
            machine=machine,
            power=read_power(root, answer=said["nvpmodel"] or ""),
            board=identify_board(root, machine.architecture),
            engines=readings["engines"],
            gpu=readings["gpu"],
            compiler=readings["compiler"],
            python=python,
            trtexec=readings["trtexec"],
            may_set=said["sudo"] is not None,
            throttled=read_throttled(said["throttled"] or ""),
            temperature_c=_hottest_c(root),
            free_bytes=readings["free_bytes"],
        )


def _hottest_c(root: Path) -> float | None:
    """The kernel gives thousandths of a degree."""
    texts = [path.read_text(encoding="utf-8").strip() for path in root.glob("sys/class/thermal/thermal_zone*/temp")]
    return max((int(text) / 1000 for text in texts if text.lstrip("-").isdigit()), default=None)
