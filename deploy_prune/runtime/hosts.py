"""The machines that profiles measure on: this one is read, another is asked once."""

from __future__ import annotations

import functools

from deploy_prune.hardware.engines import ENGINES
from deploy_prune.hardware.host import Host, host_from_readings, local_host
from deploy_prune.hardware.profile import HardwareProfile
from deploy_prune.runtime.client import WorkerProcess
from deploy_prune.runtime.remote import connect, read_raw, retrying

PACKAGES = sorted({facts.package for facts in ENGINES.values()})


def find_host(profile: HardwareProfile) -> Host:
    """The machine that a profile measures on; another one is asked once in the life of this process.

    Raises:
        InputError, MeasurementError: it cannot be reached, or has no usable Python.
    """
    if profile.host is None:
        return local_host()
    return _ask_host(profile.host, profile.python, tuple(sorted(profile.environment.items())))


def read_host(worker: WorkerProcess, profile: HardwareProfile) -> Host:
    """The machine of a worker as it is now, with the clocks and the power that it has at this moment."""
    return local_host() if profile.host is None else host_from_readings(read_raw(worker, PACKAGES))


def engine_version(profile: HardwareProfile) -> str | None:
    """Version of the profile's engine on its machine; None where it is not installed or does not say."""
    facts = profile.engine_facts
    return facts.version if profile.host is None else find_host(profile).engines.get(facts.package)


@functools.cache
def _ask_host(host: str, python: str, environment: tuple[tuple[str, str], ...]) -> Host:
    profile = HardwareProfile.model_validate(
        {"name": host, "engine": "onnxruntime", "host": host, "python": python, "environment": dict(environment)}
    )

    def ask() -> Host:
        with connect(profile) as worker:
            return host_from_readings(read_raw(worker, PACKAGES))

    return retrying(profile, ask)
