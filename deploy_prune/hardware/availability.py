"""Can a profile run on this machine, and if not, what is missing?"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from deploy_prune.errors import InputError, MissingDependencyError
from deploy_prune.hardware.machine import Machine, detect_machine
from deploy_prune.hardware.power import read_power
from deploy_prune.hardware.profile import HardwareProfile

TRTEXEC_PLACES = ("trtexec", "/usr/src/tensorrt/bin/trtexec")
"""Where trtexec is looked for unless the profile names it: on PATH, and where NVIDIA's packages put it."""
# Any of these is there where an NVIDIA driver has a GPU: a card's character device, or a Jetson's.
_GPU_FILES = ("dev/nvidia0", "dev/nvhost-gpu", "dev/nvgpu")


def find_obstacles(profile: HardwareProfile, root: Path = Path("/")) -> tuple[str, ...]:
    """Everything that keeps the profile from being measured under here, in words; empty when it can run.

    Args:
        profile: the profile in question.
        root: where ``proc``, ``sys`` and ``dev`` are looked for.
    """
    found = []
    if profile.host is not None:
        found.append(f"it measures on the host {profile.host!r}, which this version cannot do yet")
        return tuple(found)  # what this machine lacks does not matter
    found += _machine_obstacles(profile, detect_machine(root))
    found += _engine_obstacles(profile)
    if profile.device == "cuda" and not any((root / name).exists() for name in _GPU_FILES):
        found.append("no NVIDIA GPU")
    elif profile.mode == "compile" and profile.device == "cpu" and _find_compiler() is None:
        found.append("torch.compile needs a C++ compiler: install g++ or name one in CXX")
    if not found:
        found += read_power(root).differences(profile.power)
    return tuple(found)


def require_runnable(profile: HardwareProfile) -> None:
    """Refuse a profile that this machine cannot be measured under.

    Raises:
        MissingDependencyError: its engine is not installed, and nothing else is in the way.
        InputError: names everything that is in the way.
    """
    obstacles = find_obstacles(profile)
    if not obstacles:
        return
    message = f"the profile {profile.name!r} cannot run here: {'; '.join(obstacles)}"
    if len(obstacles) == 1 and _engine_obstacles(profile):
        raise MissingDependencyError(message)
    raise InputError(f"{message}; see `deploy-prune profiles` for those that can")


def require_searchable(profile: HardwareProfile) -> None:
    """Refuse a profile under which widths cannot be searched.

    Raises:
        InputError: its engine does not time single layers; and as :func:`require_runnable`.
        MissingDependencyError: see :func:`require_runnable`.
    """
    if not profile.engine_facts.profiles_layers:
        raise InputError(
            f"the profile {profile.name!r} measures with {profile.engine}, which does not time single layers; compare "
            "models under it by `deploy-prune bench`, and for a budget choose a profile with another engine"
        )
    require_runnable(profile)


def _machine_obstacles(profile: HardwareProfile, machine: Machine) -> list[str]:
    found = []
    if profile.architecture not in (None, machine.architecture):
        found.append(f"it is for {profile.architecture}, this machine is {machine.architecture}")
    elif profile.board is not None and profile.board not in machine.processor:
        found.append(f"it is for the board {profile.board!r}, this machine is {machine.processor}")
    elif profile.threads > machine.usable_cores:
        found.append(f"it asks for {profile.threads} threads, {machine.usable_cores} cores are usable")
    return found


def _engine_obstacles(profile: HardwareProfile) -> list[str]:
    facts = profile.engine_facts
    if profile.mode == "trtexec":
        wanted = profile.tensorrt.trtexec
        if any(shutil.which(place) for place in ([wanted] if wanted else TRTEXEC_PLACES)):
            return []
        looked = f"at {wanted}" if wanted else f"on PATH or at {TRTEXEC_PLACES[1]}"
        return [f"no trtexec {looked}: TensorRT's Debian and tar packages have it, pip has not"]
    return [] if facts.installed else [f"{facts.package} is not installed: {facts.install}"]


def _find_compiler() -> str | None:
    return shutil.which(os.environ.get("CXX", "g++")) or shutil.which("clang++")
