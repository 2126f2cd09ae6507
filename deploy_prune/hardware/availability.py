"""Can a profile run on this machine, and if not, what is missing?"""

from __future__ import annotations

import shutil
from pathlib import Path

from deploy_prune.errors import InputError, MissingDependencyError
from deploy_prune.hardware.host import Host, local_host
from deploy_prune.hardware.machine import Machine
from deploy_prune.hardware.profile import HardwareProfile

TRTEXEC_PLACES = ("trtexec", "/usr/src/tensorrt/bin/trtexec")
"""Where trtexec is looked for unless the profile names it: on PATH, and where NVIDIA's packages put it."""


def find_obstacles(profile: HardwareProfile, root: Path = Path("/"), host: Host | None = None) -> tuple[str, ...]:
    """Everything that keeps the profile from being measured under, in words; empty when it can run.

    Args:
        profile: the profile in question.
        root: where ``proc``, ``sys`` and ``dev`` of this machine are looked for.
        host: the machine that the profile measures on; None: this one.
    """
    host = host or local_host(root)
    found = [*_machine_obstacles(profile, host.machine), *_engine_obstacles(profile, host)]
    if profile.device == "cuda" and not host.gpu:
        found.append("no NVIDIA GPU")
    elif profile.mode == "compile" and profile.device == "cpu" and not host.compiler:
        found.append("torch.compile needs a C++ compiler: install g++ or name one in CXX")
    if not found and not profile.power.set:
        found += host.power.differences(profile.power)
    return tuple(found)


def require_runnable(profile: HardwareProfile, host: Host | None = None) -> None:
    """Refuse a profile that cannot be measured under on ``host``, by default this machine.

    Raises:
        MissingDependencyError: its engine is not installed, and nothing else is in the way.
        InputError: names everything that is in the way.
    """
    host = host or local_host()
    obstacles = find_obstacles(profile, host=host)
    if not obstacles:
        return
    message = f"the profile {profile.name!r} cannot run {where(profile)}: {'; '.join(obstacles)}"
    if len(obstacles) == 1 and _engine_obstacles(profile, host):
        raise MissingDependencyError(message)
    raise InputError(f"{message}; see `deploy-prune profiles` for those that can")


def require_power(profile: HardwareProfile, host: Host) -> None:
    """Refuse to measure on a machine whose clocks and power are not as the profile asks.

    Raises:
        InputError: says what is different and the command that changes it.
    """
    if differences := host.power.differences(profile.power):
        raise InputError(f"the profile {profile.name!r} cannot run {where(profile)}: {'; '.join(differences)}")


def where(profile: HardwareProfile) -> str:
    """The words for the place where a profile measures."""
    return f"on {profile.host}" if profile.host is not None else "here"


def require_searchable(profile: HardwareProfile, host: Host | None = None) -> None:
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
    require_runnable(profile, host)


def _machine_obstacles(profile: HardwareProfile, machine: Machine) -> list[str]:
    found, this = [], profile.host or "this machine"
    if profile.architecture not in (None, machine.architecture):
        found.append(f"it is for {profile.architecture}, {this} is {machine.architecture}")
    elif profile.board is not None and profile.board not in machine.processor:
        found.append(f"it is for the board {profile.board!r}, {this} is {machine.processor}")
    elif profile.threads > machine.usable_cores:
        found.append(f"it asks for {profile.threads} threads, {machine.usable_cores} cores are usable")
    return found


def _engine_obstacles(profile: HardwareProfile, host: Host) -> list[str]:
    facts = profile.engine_facts
    if profile.mode == "trtexec":
        wanted = profile.tensorrt.trtexec
        if profile.host is not None:
            there = host.trtexec is not None
        else:
            there = any(shutil.which(place) for place in ([wanted] if wanted else TRTEXEC_PLACES))
        looked = f"at {wanted}" if wanted else f"on PATH or at {TRTEXEC_PLACES[1]}"
        return [] if there else [f"no trtexec {looked}: TensorRT's Debian and tar packages have it, pip has not"]
    advice = facts.install if profile.host is None else f"install it on {profile.host} for {profile.python}"
    return [] if facts.package in host.engines else [f"{facts.package} is not installed: {advice}"]
