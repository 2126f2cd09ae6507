"""The client's end of a worker process: start it, ask it, and never leave it behind."""

from __future__ import annotations

import contextlib
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
from deploy_prune.runtime.worker import MODULES
from deploy_prune.runtime.worker.refusal import RefusedError

WORKER = "deploy_prune.runtime.worker"
# Reads one line from stdin, the worker's modules as [[name, source], ...], makes modules of them and becomes the
# worker. The current folder leaves the import path first: a file of the user's that is named like a library must not
# replace it.
BOOTSTRAP = """
import sys
sys.path[:] = [p for p in sys.path if p]
import json, types
for name, source in json.loads(sys.stdin.buffer.readline().decode("utf-8")):
    sys.modules[name] = types.ModuleType(name)
    exec(compile(source, "<" + name + ">", "exec"), sys.modules[name].__dict__)
sys.modules[name].main()
"""
# How long a worker may take to leave in order, which removes its files, before it is killed.
GRACE_S = 2.0


def worker_sources() -> bytes:
    """The line that ``BOOTSTRAP`` reads."""
    folder = importlib.resources.files(WORKER)
    modules = [(f"{WORKER}.{name}", (folder / f"{name}.py").read_text(encoding="utf-8")) for name in MODULES]
    return json.dumps(modules).encode() + b"\n"


class WorkerProcess:
    """A fresh process that runs the worker; a context manager that ends it whatever happens.

    Args:
        command: the interpreter with its first arguments, by default this Python; ``-u -c ...`` is added.
    """

    def __init__(self, command: Sequence[str] = (sys.executable,)) -> None:
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        self._ids = itertools.count(1)
        self._lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        try:
            # A session of its own: Ctrl-C reaches this process alone, which then ends the worker in order.
            self._process = subprocess.Popen(
                [*command, "-u", "-c", BOOTSTRAP],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._stderr, start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            raise MeasurementError(f"cannot start {command[0]}: {error.strerror}") from error
        self._reader = threading.Thread(target=self._collect_lines, name="worker-replies", daemon=True)
        self._reader.start()
        try:
            self._send(worker_sources(), "start")
        except BaseException:
            self.end()
            raise

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
        self._send(json.dumps({"id": next(self._ids), "do": do, **arguments}).encode() + b"\n", do)
        try:
            line = self._lines.get(timeout=timeout_s)
        except queue.Empty:
            self.end(grace_s=0)
            raise MeasurementError(
                f"the measuring process did not answer {do!r} within {timeout_s:g} s and was ended; "
                "try again on a less busy machine or with a smaller model"
            ) from None
        if not line:
            raise self._death(do)
        reply = json.loads(line)
        if "error" in reply:
            raise RefusedError(reply["error"]["kind"], reply["error"]["message"])
        result: dict[str, Any] = reply["result"]
        return result

    def end(self, grace_s: float = GRACE_S) -> None:
        """Close the worker's stdin, which ends it; kill it when it has not gone after ``grace_s`` seconds."""
        assert self._process.stdin is not None and self._process.stdout is not None
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

    def _send(self, data: bytes, do: str) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(data)
            self._process.stdin.flush()
        except (BrokenPipeError, ValueError):
            raise self._death(do) from None

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
        return MeasurementError(f"the measuring process died during {do!r} ({how}): {last}")
