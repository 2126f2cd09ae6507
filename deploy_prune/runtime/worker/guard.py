"""One job at a time: a lock on the machine, held by a guard that cleans up however the worker ends.

The guard is a small process of its own. It inherits the lock, reads from a pipe that the worker holds open, and at the
end of it (an orderly end, a crash, kill -9: the kernel closes the pipe) ends what the worker has started, removes its
files, and, when it is the last of its client's, puts power and clocks back.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import IO, Any

from deploy_prune.runtime.worker.bootstrap import BOOTSTRAP, pack_sources, sent_sources
from deploy_prune.runtime.worker.power import Journal
from deploy_prune.runtime.worker.refusal import RefusedError

NEEDS = ("bootstrap", "refusal", "power", "guard")
GATE_TIMEOUT_S = 120.0
_POLL_S = 0.05


class Guard:
    """The worker's end of the guard: started by ``hold``, told what to clean up, ended by ``leave``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def hold(self, holder: str, purpose: str, policy: dict[str, Any] | None, root: Path) -> list[str]:
        """Lock the machine for a client and set its power; what was changed, in words.

        Args:
            holder: the client; all workers of one client hold the lock together.
            purpose: told to others who ask meanwhile.
            policy: the power to set, None: as it is.
            root: where ``sys`` is.

        Raises:
            RefusedError: another client has the machine (kind ``busy``), or its power cannot be set.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        journal, changes = Journal(self._folder / "power.json"), []
        with gate(self._folder), (self._folder / "lock").open("a+") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self._join(holder, lock)
            else:
                journal.restore()  # what a machine that lost its current could not
                told = {"holder": holder, "purpose": purpose, "since_s": time.time()}
                (self._folder / "holder").write_text(json.dumps(told), encoding="utf-8")
                if policy is not None:
                    changes = journal.apply(policy, root)
                fcntl.flock(lock, fcntl.LOCK_SH)
            self._start(lock)
        return changes

    def tell(self, **what: Any) -> None:
        """Name a process group to end (``group``) or a folder to remove (``folder``) when this worker has ended."""
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.write(json.dumps(what).encode() + b"\n")
            self._process.stdin.flush()

    def leave(self) -> None:
        """Let go; returns when everything is put back."""
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
            self._process.wait()
            self._process = None

    def _join(self, holder: str, lock: IO[str]) -> None:
        """Share the lock with another worker of the same client."""
        try:
            told = json.loads((self._folder / "holder").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            told = {"holder": None, "purpose": "unknown", "since_s": time.time()}
        if told["holder"] != holder:
            since = f"{max(0.0, time.time() - told['since_s']):.0f} s"
            raise RefusedError("busy", f"another job has measured here for {since}: {told['purpose']}")
        fcntl.flock(lock, fcntl.LOCK_SH)

    def _start(self, lock: IO[str]) -> None:
        flags = ["-I"] if sys.flags.isolated else []
        self._process = subprocess.Popen(
            [sys.executable, *flags, "-u", "-c", BOOTSTRAP], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, pass_fds=[lock.fileno()], start_new_session=True,
        )  # fmt: skip
        assert self._process.stdin is not None
        self._process.stdin.write(pack_sources(sent_sources(NEEDS)))
        self.tell(cache=str(self._folder), lock=lock.fileno())


@contextlib.contextmanager
def gate(folder: Path) -> Any:
    """Only one process at a time takes the lock or gives it back."""
    with (folder / "gate").open("a") as file:
        end = time.monotonic() + GATE_TIMEOUT_S
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end:
                    raise RefusedError("busy", "another job sets or restores this machine's power") from None
                time.sleep(_POLL_S)
        yield


def clean_up(groups: list[int], folders: list[str]) -> None:
    """End process groups, and remove folders."""
    for group in groups:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    """Wait for the end of the worker, then clean up."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    told = [json.loads(line.decode("utf-8")) for line in sys.stdin.buffer if line.endswith(b"\n")]
    clean_up([one["group"] for one in told if "group" in one], [one["folder"] for one in told if "folder" in one])
    folder, lock = Path(told[0]["cache"]), told[0]["lock"]
    with gate(folder):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return  # others of the same client still measure
        Journal(folder / "power.json").restore()
        with contextlib.suppress(OSError):
            (folder / "holder").unlink()
