"""The machines that profiles measure on: this one is read, another is asked once."""

from __future__ import annotations

import functools

from deploy_prune.hardware.engines import ENGINES
from deploy_prune.hardware.host import Host, host_from_readings, local_host
from deploy_prune.hardware.profile import HardwareProfile
from deploy_prune.runtime.client import WorkerProcess
from deploy_prune.runtime.remote import connect, retrying

# trtexec starts CUDA before it says its version.
READ_TIMEOUT_S = 120.0
PACKAGES = sorted({facts.package for facts in ENGINES.values()})


def find_host(profile: HardwareProfile) -> Host:
    """The machine that a profile measures on; another one is asked once in the life of this process.

    Raises:
        InputError, MeasurementError: it cannot be reached, or has no usable Python.
    """
    if profile.host is None:
        return local_host()
    return _ask_host(profile.host, profile.python, tuple(sorted(profile.environment.items())), profile.tensorrt.trtexec)


def read_host(worker: WorkerProcess, profile: HardwareProfile) -> Host:
    """The machine of a worker as it is now, with the clocks and the power of this moment, and without its engines."""
    if profile.host is None:
        return local_host()
    return host_from_readings(worker.request("device", timeout_s=READ_TIMEOUT_S, engines=[], root="/", brief=True))


@functools.cache
def _ask_host(host: str, python: str, environment: tuple[tuple[str, str], ...], trtexec: str | None) -> Host:
    profile = HardwareProfile.model_validate(
        {"name": host, "engine": "onnxruntime", "host": host, "python": python, "environment": dict(environment)}
    )

    def ask() -> Host:
        with connect(profile) as worker:
            asked = {"engines": PACKAGES, "root": "/", "trtexec": trtexec}
            return host_from_readings(worker.request("device", timeout_s=READ_TIMEOUT_S, **asked))

    return retrying(profile, ask)
