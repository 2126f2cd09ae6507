"""A worker for a profile, on this machine or another; its model brought to it; a device held while it is measured."""

from __future__ import annotations

import base64
import contextlib
import logging
import os
import platform
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from deploy_prune.errors import (
    ConnectionLostError,
    DeployPruneError,
    InputError,
    MeasurementError,
    UnreachableHostError,
)
from deploy_prune.hardware.profile import HardwareProfile
from deploy_prune.runtime.client import WorkerProcess
from deploy_prune.runtime.device_lock import held_machine
from deploy_prune.runtime.ssh import explain_for, interpreter, ssh_prefix
from deploy_prune.runtime.worker import BOARD_MODULES, MODULES
from deploy_prune.runtime.worker.files import digest_of
from deploy_prune.runtime.worker.refusal import RefusedError

START_TIMEOUT_S = 60.0
# A chunk of a file travels within this, on a link of 10 kB/s and more.
CHUNK_BYTES = 192 * 1024
CHUNK_TIMEOUT_S = 60.0
# Setting power modes and clocks runs several commands, each of which may take a minute.
HOLD_TIMEOUT_S = 600.0
BUSY_WAIT_S = 3600.0
BUSY_POLL_S = 2.0
SIGN_OF_LIFE_S = 5.0
# After a lost connection: seconds before each further try. A board that restarts is back within two minutes.
PAUSES_S = (1.0, 3.0, 10.0, 30.0, 60.0)

# This process among all that may ask for a device; process numbers and hosts' names repeat.
_CLIENT = uuid.uuid4().hex

T = TypeVar("T")
_log = logging.getLogger(__name__)


def start_worker(profile: HardwareProfile) -> WorkerProcess:
    """A worker on the profile's device; on another machine, or where power is to be set, with the device held.

    Raises:
        MeasurementError: it cannot be started, is busy for longer than ``BUSY_WAIT_S``, or its power cannot be set.
    """
    if profile.host is None and not profile.power.set:
        return WorkerProcess()
    worker = connect(profile)
    try:
        _hold(worker, profile)
    except BaseException:
        worker.end()
        raise
    return worker


def connect(profile: HardwareProfile) -> WorkerProcess:
    """A worker that takes files, and has neither the device nor a model yet."""
    remote = profile.host is not None
    worker = WorkerProcess(
        interpreter(profile) if remote else (sys.executable,),
        over=ssh_prefix(profile.host) if profile.host is not None else (),
        modules=MODULES + BOARD_MODULES,
        sign_of_life_s=SIGN_OF_LIFE_S,
        explain=explain_for(profile) if remote else None,
    )
    try:
        worker.request("hello", timeout_s=START_TIMEOUT_S, modules=list(MODULES))
    except BaseException:
        worker.end()
        raise
    return worker


def held_here(profile: HardwareProfile) -> contextlib.AbstractContextManager[None]:
    """Keep other measurements off this machine, where the profile measures here; raises as ``held_machine``."""
    return held_machine() if profile.host is None else contextlib.nullcontext()


@contextlib.contextmanager
def held_device(profile: HardwareProfile) -> Iterator[None]:
    """Keep other jobs off the device, and its power as the profile asks, over several workers of this process.

    Raises:
        InputError, MeasurementError: it cannot be held; see :func:`start_worker` and ``held_machine``.
    """
    with held_here(profile):
        if profile.host is None and not profile.power.set:
            yield
            return
        worker = retrying(profile, lambda: start_worker(profile))
        try:
            yield
        finally:
            worker.end()


def retrying(profile: HardwareProfile, take: Callable[[], T]) -> T:
    """What ``take`` returns, tried again after pauses where the connection to another machine was lost.

    A machine that has never answered is not waited for; one that did, and then was lost, may be restarting.
    """
    expected: tuple[type[MeasurementError], ...] = (ConnectionLostError,)
    for pause_s in PAUSES_S if profile.host is not None else ():
        try:
            return take()
        except expected as lost:  # noqa: PERF203 - the loop is about the exception
            expected = (ConnectionLostError, UnreachableHostError)
            _log.warning("%s; trying again in %g s", lost, pause_s)
            time.sleep(pause_s)
    return take()


def bring_model(worker: WorkerProcess, model: Path, profile: HardwareProfile) -> str | list[list[str]]:
    """What a ``load`` request takes for a model: its path here, or names and digests of files that the device has.

    What is missing there is sent first, from where an interrupted sending stopped.
    """
    if profile.host is None:
        return str(model.resolve())
    return [[path.name, _send_file(worker, path, profile)] for path in files_of(model)]


def files_of(model: Path) -> list[Path]:
    """A model's files, itself first: weights may lie beside it (OpenVINO's .bin, ONNX's .onnx.data)."""
    beside = (model.with_suffix(".bin") if model.suffix == ".xml" else model.with_name(model.name + ".data"),)
    return [model, *(path for path in beside if path.is_file())]


def explain_board(refused: RefusedError, profile: HardwareProfile) -> DeployPruneError | None:
    """A refusal of the relay's as the error that a user can act on; None for those of a model."""
    where = profile.host or "this machine"
    if refused.kind == "busy":
        return MeasurementError(f"{where} is busy: {refused}; wait for it, or choose another device")
    if refused.kind == "disk":
        return MeasurementError(f"the disk of {where} is full: {refused}")
    if refused.kind == "spoilt":
        return MeasurementError(f"a file was spoilt on its way to {where}, twice: {refused}")
    if refused.kind == "power":
        advice = "allow it in /etc/sudoers.d, set it yourself, or leave 'set' out of the profile's power"
        return InputError(f"the power of {where} cannot be set: {refused}; {advice}")
    if refused.kind == "died":
        return MeasurementError(f"on {where}, {refused}" if profile.host else str(refused))
    return None


def _hold(worker: WorkerProcess, profile: HardwareProfile) -> None:
    """Lock the device for this process, waiting for others, and set its power if the profile asks for it."""
    end, told = time.monotonic() + BUSY_WAIT_S, False
    while (refused := _try_to_hold(worker, profile)) is not None:
        if refused.kind != "busy" or time.monotonic() > end:
            raise _explained(refused, profile)
        if not told:
            _log.warning("%s is busy: %s; waiting", profile.host or "this machine", refused)
            told = True
        time.sleep(BUSY_POLL_S)


def _try_to_hold(worker: WorkerProcess, profile: HardwareProfile) -> RefusedError | None:
    """Why the device cannot be had now; None: it is held."""
    power = profile.power.model_dump(include={"mode", "governor", "clocks"}) if profile.power.set else None
    holder, purpose = f"{_CLIENT}-{os.getpid()}", f"{platform.node()} process {os.getpid()}"
    try:
        worker.request("hold", timeout_s=HOLD_TIMEOUT_S, holder=holder, purpose=purpose, power=power, root="/")
    except RefusedError as refused:
        return refused
    return None


def _send_file(worker: WorkerProcess, path: Path, profile: HardwareProfile) -> str:
    """Send what the device lacks of a file, a second time from its beginning if it arrives spoilt; its digest."""
    digest = digest_of(path)
    try:
        try:
            _send_rest(worker, path, digest)
        except RefusedError as refused:
            if refused.kind != "spoilt":
                raise
            _send_rest(worker, path, digest)
    except RefusedError as refused:
        raise _explained(refused, profile) from None
    return digest


def _send_rest(worker: WorkerProcess, path: Path, digest: str) -> None:
    found = worker.request("find", timeout_s=CHUNK_TIMEOUT_S, digest=digest, size=path.stat().st_size)
    if found["whole"]:
        return
    with path.open("rb") as file:
        file.seek(found["bytes"])
        while chunk := file.read(CHUNK_BYTES):
            offset, data = file.tell() - len(chunk), base64.b64encode(chunk).decode("ascii")
            worker.request("put", timeout_s=CHUNK_TIMEOUT_S, digest=digest, offset=offset, data=data)
    worker.request("keep", timeout_s=CHUNK_TIMEOUT_S, digest=digest)


def _explained(refused: RefusedError, profile: HardwareProfile) -> DeployPruneError:
    return explain_board(refused, profile) or MeasurementError(f"{profile.host or 'this machine'} refused: {refused}")
