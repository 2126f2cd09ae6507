"""Clocks and power modes as the machine has them now, and whether they are what a profile asks for."""

from __future__ import annotations

import dataclasses
import subprocess
from pathlib import Path

from deploy_prune.hardware.profile import PowerPolicy

# min and max of cpufreq (every core) and of devfreq (the GPU of a Jetson)
_LIMITS = (
    ("sys/devices/system/cpu", "cpu[0-9]*/cpufreq", "scaling_min_freq", "scaling_max_freq"),
    ("sys/class/devfreq", "*gpu*", "min_freq", "max_freq"),
)
_NVPMODEL_TIMEOUT_S = 10.0


@dataclasses.dataclass(frozen=True)
class PowerState:
    """What the kernel says; None where it does not (in most virtual machines).

    ``locked``: the lowest and the highest frequency of every clock are equal. ``mode`` is a Jetson's power mode.
    """

    governor: str | None
    locked: bool | None
    mode: str | None

    def differences(self, policy: PowerPolicy) -> tuple[str, ...]:
        """What is not as the policy asks, each with the command that changes it."""
        found = []
        if policy.governor not in (None, self.governor):
            advice = f"sudo cpupower frequency-set -g {policy.governor}"
            found.append(f"the governor is {self.governor or 'unknown'}, not {policy.governor}: {advice}")
        if policy.mode not in (None, self.mode):
            advice = "sudo nvpmodel -m ID, with the ID of that name in /etc/nvpmodel.conf"
            found.append(f"the power mode is {self.mode or 'unknown'}, not {policy.mode}: {advice}")
        if policy.clocks == "locked" and not self.locked:
            state = "not known to be locked" if self.locked is None else "not locked"
            found.append(
                f"the clocks are {state}: sudo jetson_clocks on a Jetson, sudo cpupower frequency-set elsewhere"
            )
        return tuple(found)


def read_power(root: Path = Path("/"), nvpmodel: str = "nvpmodel", *, answer: str | None = None) -> PowerState:
    """Read the files under ``root`` and ask ``nvpmodel -q``; never raises for what is not there.

    Args:
        root: where ``sys`` is.
        nvpmodel: the command.
        answer: what the command printed on another machine, which is then taken instead; empty: nothing.
    """
    governor = _read(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    limits = [
        (_read(folder / low), _read(folder / high))
        for parent, pattern, low, high in _LIMITS
        for folder in sorted((root / parent).glob(pattern))
    ]
    locked = all(low == high for low, high in limits) if limits else None
    return PowerState(governor, locked, _find_mode(_ask_nvpmodel(nvpmodel) if answer is None else answer))


def _ask_nvpmodel(command: str) -> str:
    try:
        done = subprocess.run([command, "-q"], capture_output=True, text=True, check=False, timeout=_NVPMODEL_TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout


def _find_mode(answer: str) -> str | None:
    """The name in ``NV Power Mode: MAXN`` (NVIDIA Jetson Linux developer guide, "nvpmodel")."""
    names = [line.partition(":")[2].strip() for line in answer.splitlines() if line.startswith("NV Power Mode:")]
    return names[0] if names else None


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return None
