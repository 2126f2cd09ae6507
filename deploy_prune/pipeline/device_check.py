"""Ask a device what it is, what it can measure with, and what a run would change; asking changes nothing."""

from __future__ import annotations

from deploy_prune.hardware.availability import find_obstacles
from deploy_prune.hardware.host import Host
from deploy_prune.hardware.profile import HardwareProfile
from deploy_prune.report.device import DeviceReport
from deploy_prune.runtime.hosts import find_host

_UNKNOWN = "not told by its kernel"


def check_device(profile: HardwareProfile) -> DeviceReport:
    """The device of a profile.

    Raises:
        InputError, MeasurementError: it cannot be reached, or has no usable Python.
    """
    host = find_host(profile)
    engines = [f"{package} {version or '(version unknown)'}" for package, version in host.engines.items()]
    engines += [f"trtexec {host.trtexec}"] if host.trtexec else []
    return DeviceReport(
        host=profile.host or "this machine",
        facts=_facts(host),
        engines=tuple(engines),
        profile=profile.name,
        obstacles=find_obstacles(profile, host=host),
        changes=_changes(profile, host),
        warnings=_warnings(profile, host),
    )


def _facts(host: Host) -> tuple[tuple[str, str], ...]:
    machine, power = host.machine, host.power
    locked = {True: "locked", False: "not locked", None: _UNKNOWN}[power.locked]
    facts = {
        "board": host.board.describe(),
        "processor": machine.processor,
        "architecture": machine.architecture,
        "instruction sets": " ".join(machine.flags) or "none that engines ask for",
        "cores": f"{machine.cores}, usable: {machine.usable_cores}",
        "memory": _gib(machine.memory_bytes),
        "system": machine.os,
        "Python": host.python,
        "NVIDIA GPU": "yes" if host.gpu else "no",
        "governor": power.governor or _UNKNOWN,
        "power mode": power.mode or "none",
        "clocks": locked,
        "temperature": _UNKNOWN if host.temperature_c is None else f"{host.temperature_c:.0f} °C",
        "sudo -n": {True: "runs commands", False: "asks for a password, or is missing", None: "not tried"}[
            host.may_set
        ],
        "room for models": _gib(host.free_bytes),
        "fingerprint": machine.fingerprint,
    }
    return tuple(facts.items())


def _changes(profile: HardwareProfile, host: Host) -> tuple[str, ...]:
    """What a run would set; with what it leaves behind on another machine."""
    wished, changes = profile.power, []
    if profile.host is not None:
        changes.append("models are kept in ~/.cache/deploy_prune, which may be removed at any time")
    if wished.set:
        pairs = (("power mode", host.power.mode, wished.mode), ("governor", host.power.governor, wished.governor))
        changes += [
            f"{name}: {now or 'unknown'} -> {then}, and back" for name, now, then in pairs if then not in (None, now)
        ]
        if wished.clocks == "locked":
            changes.append("clocks: locked, and back")
    return tuple(changes)


def _warnings(profile: HardwareProfile, host: Host) -> tuple[str, ...]:
    warnings = [f"the board reports: {words}" for words in host.throttled]
    if profile.power.set and host.may_set is False:
        warnings.append("the profile sets power, which needs `sudo -n`: allow it in /etc/sudoers.d")
    if profile.untested:
        warnings.append("this profile has not been run on such a device yet")
    return tuple(warnings)


def _gib(size: int | None) -> str:
    return _UNKNOWN if size is None else f"{size / 2**30:.1f} GiB"
