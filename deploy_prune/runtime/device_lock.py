"""This machine held by one measurement at a time, among all processes and accounts that measure on it.

The lock is an ``flock`` on a file: the kernel lets go when the process ends, however it ends. Boards have a lock of
their own (``deploy_prune.runtime.worker.guard``).
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from deploy_prune.errors import InputError, MeasurementError
from deploy_prune.hardware.machine import detect_machine

LOCKS_VARIABLE = "DEPLOY_PRUNE_LOCKS"
"""Environment variable with the folder of the lock, where it should not lie among the system's temporary files."""
BUSY_WAIT_S = 3600.0
# A single measurement of another job is soon over; a wait that lasts longer than this is told.
TELL_S = 10.0
POLL_S = 0.1

_log = logging.getLogger(__name__)


def lock_path() -> Path:
    """The file of this machine's lock, named by the fingerprint, for a folder may be seen by several machines."""
    folder = Path(os.environ.get(LOCKS_VARIABLE) or tempfile.gettempdir())
    return folder / f"deploy_prune-{detect_machine().fingerprint}.lock"


@contextlib.contextmanager
def held_machine(wait_s: float | None = None) -> Iterator[None]:
    """Keep other measurements off this machine; those that come meanwhile wait, and say for which process.

    Not to be nested: it would wait for itself.

    Raises:
        InputError: the file cannot be made.
        MeasurementError: others measured for longer than ``wait_s`` seconds (None: ``BUSY_WAIT_S``).
    """
    path = lock_path()
    with _opened(path) as file:
        _lock(file, path, BUSY_WAIT_S if wait_s is None else wait_s)
        with contextlib.suppress(OSError):
            os.ftruncate(file, 0)
            os.pwrite(file, str(os.getpid()).encode(), 0)
        yield


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int]:
    """A descriptor of the file, which every account may open; processes that are started do not inherit it."""
    flags = os.O_RDWR | os.O_NOFOLLOW  # of a link that somebody left there, the target is not to be written
    try:
        try:
            file = os.open(path, flags)  # first without O_CREAT, which /tmp refuses for another account's file
        except FileNotFoundError:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = os.open(path, flags | os.O_CREAT, 0o666)
            with contextlib.suppress(OSError):
                os.fchmod(file, 0o666)  # whatever the umask is
    except OSError as error:
        raise InputError(
            f"the lock of this machine, {path}, cannot be opened: {error.strerror}; "
            f"name another folder in {LOCKS_VARIABLE}"
        ) from None
    try:
        yield file
    finally:
        os.close(file)


def _lock(file: int, path: Path, wait_s: float) -> None:
    start, told = time.monotonic(), False
    while not _try_to_lock(file):
        owner = os.pread(file, 32, 0).decode(errors="replace") or "unknown"
        waited_s = time.monotonic() - start
        if waited_s > wait_s:
            raise MeasurementError(
                f"this machine was being measured by another job (process {owner}) for longer than {wait_s:g} s; "
                f"wait for it, or end it (the lock is {path})"
            )
        if waited_s > TELL_S and not told:
            _log.warning("this machine is being measured by process %s; waiting", owner)
            told = True
        time.sleep(POLL_S)


def _try_to_lock(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
