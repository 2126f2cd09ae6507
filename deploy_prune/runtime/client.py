"""The client's end of a worker process: start it, ask it, and never leave it behind."""

from __future__ import annotations

import importlib.resources
import itertools
import json
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from types import TracebackType
from typing import Any

from deploy_prune.errors import MeasurementError

# Reads a length and that many bytes of source from stdin, then becomes the worker. The current folder leaves the
# import path first: a file of the user's named like a library must not replace it.
BOOTSTRAP = (
    "import sys; sys.path[:] = [p for p in sys.path if p]; b = sys.stdin.buffer; "
    "exec(compile(b.read(int(b.readline())), '<deploy_prune worker>', 'exec'), {'__name__': '__main__'})"
)
CLOSE_TIMEOUT_S = 2.0


class WorkerRefusal(Exception):  # noqa: N818 - an answer of the worker, turned into an error by the engine's file
    """The worker answered with an error; ``kind`` is one of those that ``worker.py`` lists."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class WorkerProcess:
    """A fresh process that runs ``worker.py``; use it as a context manager.

    Args:
        command: the interpreter and its first arguments; ``-u -c BOOTSTRAP`` is added. Defaults to this Python.
    """

    def __init__(self, command: Sequence[str] = (sys.executable,)) -> None:
        source = (importlib.resources.files("deploy_prune.runtime") / "worker.py").read_bytes()
        self._stderr = tempfile.TemporaryFile()
        self._ids = itertools.count(1)
        self._lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        # A session of its own: Ctrl-C reaches this process alone, which then ends the worker in order.
        self._process = subprocess.Popen(
            [*command, "-u", "-c", BOOTSTRAP],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._stderr, start_new_session=True,
        )  # fmt: skip
        threading.Thread(target=self._collect, name="worker-replies", daemon=True).start()
        self._send(b"%d\n" % len(source) + source)

    def __enter__(self) -> WorkerProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None and self._process.poll() is None:
            self._end_in_order()
        self.kill()

    @property
    def pid(self) -> int:
        """Process id of the worker."""
        return self._process.pid

    def request(self, do: str, *, timeout_s: float, **arguments: Any) -> dict[str, Any]:
        """Send one request and wait for its reply.

        Raises:
            WorkerRefusal: the worker answered with an error.
            MeasurementError: the worker died, or did not answer within ``timeout_s`` seconds (it is then killed).
        """
        number = next(self._ids)
        self._send(json.dumps({"id": number, "do": do, **arguments}).encode() + b"\n")
        try:
            line = self._lines.get(timeout=timeout_s)
        except queue.Empty:
            self.kill()
            raise MeasurementError(
                f"the measuring process did not answer {do!r} within {timeout_s:g} s and was ended; "
                "is the machine overloaded, or the model very large?"
            ) from None
        if not line:
            raise self._death(do)
        reply = json.loads(line)
        if "error" in reply:
            raise WorkerRefusal(reply["error"]["kind"], reply["error"]["message"])
        result: dict[str, Any] = reply["result"]
        return result

    def kill(self) -> None:
        """End the process at once and wait until it is gone; harmless when it is gone already."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._stderr):
            if stream is not None:
                try:
                    stream.close()
                except BrokenPipeError:
                    pass

    def _end_in_order(self) -> None:
        try:
            self.request("close", timeout_s=CLOSE_TIMEOUT_S)
            self._process.wait(CLOSE_TIMEOUT_S)
        except (MeasurementError, WorkerRefusal, subprocess.TimeoutExpired):
            pass  # kill() follows

    def _send(self, data: bytes) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(data)
            self._process.stdin.flush()
        except (BrokenPipeError, ValueError):
            raise self._death("start") from None

    def _collect(self) -> None:
        assert self._process.stdout is not None
        try:
            for line in self._process.stdout:
                self._lines.put(line)
        except ValueError:
            pass  # kill() closed the pipe
        self._lines.put(b"")

    def _death(self, do: str) -> MeasurementError:
        code = self._process.wait()
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        try:
            self._stderr.seek(0)
            lines = self._stderr.read().decode(errors="replace").strip().splitlines()
        except ValueError:
            lines = []
        last = lines[-1].strip() if lines else "it said nothing"
        return MeasurementError(f"the measuring process died during {do!r} ({how}): {last}")
