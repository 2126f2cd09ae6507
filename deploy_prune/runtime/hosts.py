"""The machines that profiles measure on: this one is read, another is asked once."""

from __future__ import annotations

import dataclasses
import functools
import json

from deploy_prune.errors import InputError
from deploy_prune.hardware.availability import TRTEXEC
from deploy_prune.hardware.engines import ENGINES
from deploy_prune.hardware.host import Host, host_from_readings, local_host
from deploy_prune.hardware.profile import HardwareProfile
from deploy_prune.runtime.client import WorkerProcess
from deploy_prune.runtime.remote import connect, read_raw, read_trtexec, retrying
from deploy_prune.runtime.worker.refusal import RefusedError
from deploy_prune.runtime.worker.tensorrt_flags import show_version
from deploy_prune.runtime.worker.trtexec_engine import ask_version, find_trtexec

PACKAGES = sorted({facts.package for facts in ENGINES.values()})
_WAY = {"host", "python", "environment", "engine", "mode", "device", "tensorrt"}


def find_host(profile: HardwareProfile) -> Host:
    """The machine that a profile measures on; another one is asked once in the life of this process.

    Raises:
        InputError, MeasurementError: it cannot be reached, or has no usable Python.
    """
    if profile.host is None:
        return local_host()
    return _ask_host(profile.model_dump_json(include=_WAY))


def read_host(worker: WorkerProcess, profile: HardwareProfile) -> Host:
    """The machine of a worker as it is now, with the clocks and the power that it has at this moment."""
    return local_host() if profile.host is None else host_from_readings(read_raw(worker, PACKAGES))


def engine_version(profile: HardwareProfile) -> str | None:
    """Version of the profile's engine on its machine; None where it is not installed or does not say.

    Raises:
        InputError: the profile runs trtexec here, and there is none, or none of NVIDIA's that is known.
    """
    if profile.host is not None:
        return find_host(profile).engines.get(TRTEXEC if profile.mode == "trtexec" else profile.engine_facts.package)
    if profile.mode != "trtexec":
        return profile.engine_facts.version
    try:
        return _trtexec_version(find_trtexec(profile.tensorrt.trtexec))
    except RefusedError as refused:
        raise InputError(f"the profile {profile.name!r} cannot run here: {refused}") from None


@functools.cache
def _trtexec_version(command: str) -> str:
    return show_version(ask_version(command))


@functools.cache
def _ask_host(way: str) -> Host:
    """A machine, by what a profile says of the way to it and to its engine."""
    known = json.loads(way)
    profile = HardwareProfile.model_validate({"name": known["host"], **known})

    def ask() -> Host:
        with connect(profile) as worker:
            found = host_from_readings(read_raw(worker, PACKAGES))
            version = read_trtexec(worker, profile.tensorrt.trtexec) if profile.mode == "trtexec" else None
            return found if version is None else dataclasses.replace(found, engines={**found.engines, TRTEXEC: version})

    return retrying(profile, ask)
