"""The client's end of a worker process: start it, ask it, and never leave it behind."""

from __future__ import annotations

import contextlib
import importlib.resources
import itertools
import json
import queue
import shlex
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

from deploy_prune.errors import MeasurementError
from deploy_prune.runtime.worker import MODULES
from deploy_prune.runtime.worker.bootstrap import BOOTSTRAP, pack_sources
from deploy_prune.runtime.worker.refusal import RefusedError

WORKER = "deploy_prune.runtime.worker"
# How long a worker may take to leave in order, which removes its files, before it is killed.
GRACE_S = 2.0


def worker_sources(modules: Sequence[str] = MODULES) -> bytes:
    """The line that ``BOOTSTRAP`` reads."""
    folder = importlib.resources.files(WORKER)
    return pack_sources([(name, (folder / f"{name}.py").read_text(encoding="utf-8")) for name in modules])


class WorkerProcess:
    """A fresh process that runs the worker; a context manager that ends it whatever happens.

    Args:
        command: the interpreter with its first arguments, by default this Python; ``-u -c ...`` is added.
        over: the words before a command line for another machine's shell, such as ``("ssh", "board")``; empty: none.
        modules: what is sent of the worker; the last one's ``main`` runs.
        sign_of_life_s: seconds between the empty lines that tell the worker that this process lives; None: none.
        explain: makes an error of the request, the exit code and the last words of a process that died.
    """

    def __init__(
        self,
        command: Sequence[str] = (sys.executable,),
        *,
        over: Sequence[str] = (),
        modules: Sequence[str] = MODULES,
        sign_of_life_s: float | None = None,
        explain: Callable[[str, int, str], MeasurementError] | None = None,
    ) -> None:
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        self._ids = itertools.count(1)
        self._lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._explain, self._writing, self._ended = explain, threading.Lock(), threading.Event()
        try:
            # A session of its own: Ctrl-C reaches this process alone, which then ends the worker in order.
            self._process = subprocess.Popen(
                [*over, remote_line(command)] if over else [*command, "-u", "-c", BOOTSTRAP],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._stderr, start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            raise MeasurementError(f"cannot start {[*over, *command][0]}: {error.strerror}") from error
        self._reader = threading.Thread(target=self._collect_lines, name="worker-replies", daemon=True)
        self._reader.start()
        try:
            self._send(worker_sources(modules), "start")
        except BaseException:
            self.end()
            raise
        if sign_of_life_s is not None:
            threading.Thread(
                target=self._show_life, args=(sign_of_life_s,), name="worker-signs-of-life", daemon=True
            ).start()

    def __enter__(self) -> WorkerProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    @property
    def pid(self) -> int:
        """Process id of the worker."""
        return self._process.pid

    def request(self, do: str, *, timeout_s: float, **arguments: Any) -> dict[str, Any]:
        """Send one request and wait for its result.

        Raises:
            RefusedError: the worker answered with an error.
            MeasurementError: the worker died, or did not answer within ``timeout_s`` seconds and was killed.
        """
        number = next(self._ids)
        self._send(json.dumps({"id": number, "do": do, **arguments}).encode() + b"\n", do)
        try:
            reply = self._find_reply(number, time.monotonic() + timeout_s)
        except queue.Empty:
            self.end(grace_s=0)
            raise MeasurementError(
                f"the measuring process did not answer {do!r} within {timeout_s:g} s and was ended; "
                "try again on a less busy machine or with a smaller model"
            ) from None
        if reply is None:
            raise self._death(do)
        if "error" in reply:
            raise RefusedError(reply["error"]["kind"], reply["error"]["message"])
        result: dict[str, Any] = reply["result"]
        return result

    def end(self, grace_s: float = GRACE_S) -> None:
        """Close the worker's stdin, which ends it; kill it when it has not gone after ``grace_s`` seconds."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._ended.set()
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(grace_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(GRACE_S)
        self._process.stdout.close()
        self._stderr.close()

    def _find_reply(self, number: int, end_s: float) -> dict[str, Any] | None:
        """The reply to a request; None when the worker has ended. What a shell prints as it starts is no reply.

        Raises:
            queue.Empty: there is none before ``end_s`` on the monotonic clock.
        """
        while line := self._lines.get(timeout=max(0.0, end_s - time.monotonic())):
            with contextlib.suppress(ValueError):
                reply = json.loads(line)
                if isinstance(reply, dict) and reply.get("id") == number:
                    return reply
        return None

    def _send(self, data: bytes, do: str) -> None:
        assert self._process.stdin is not None
        try:
            with self._writing:
                self._process.stdin.write(data)
                self._process.stdin.flush()
        except (BrokenPipeError, ValueError):
            raise self._death(do) from None

    def _show_life(self, every_s: float) -> None:
        """Runs in a thread; a worker that is gone is told of by the next request."""
        assert self._process.stdin is not None
        while not self._ended.wait(every_s):
            with contextlib.suppress(BrokenPipeError, ValueError), self._writing:
                self._process.stdin.write(b"\n")
                self._process.stdin.flush()

    def _collect_lines(self) -> None:
        """Runs in a thread: replies into the queue, then an empty line when the worker has ended."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put(b"")

    def _death(self, do: str) -> MeasurementError:
        code = self._process.wait()
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        said: list[str] = []
        if not self._stderr.closed:
            self._stderr.seek(0)
            said = self._stderr.read().decode(errors="replace").split("\n")
        last = next((line.strip() for line in reversed(said) if line.strip()), "without a word")
        if self._explain is not None:
            return self._explain(do, code, last)
        return MeasurementError(f"the measuring process died during {do!r} ({how}): {last}")


def remote_line(command: Sequence[str]) -> str:
    """A command line of one line, which every shell takes as quoted, that starts the worker."""
    return shlex.join(["exec", *command, "-u", "-c", f"exec({BOOTSTRAP!r})"])
