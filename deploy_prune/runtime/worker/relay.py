"""The process that a client talks to on another machine: files, the lock, power, and a child that holds the model.

The protocol is that of ``process``, whose requests are passed on to the child. An empty line only says that the client
is alive. The process ends, with all that it has started, when stdin ends or nothing has come for ``SILENCE_S``.
"""

from __future__ import annotations

import json
import os
import platform
import queue
import signal
import sys
import tempfile
import threading
import traceback
from pathlib import Path
from typing import Any

from deploy_prune.runtime.worker.files import FileCache, cache_folder
from deploy_prune.runtime.worker.guard import Guard, clean_up
from deploy_prune.runtime.worker.readings import read_device
from deploy_prune.runtime.worker.refusal import RefusedError
from deploy_prune.runtime.worker.session import Session

OWN_REQUESTS = ("hello", "hold", "find", "put", "keep", "device")
# A client gives a sign of life every few seconds. A connection that is cut without a word ends by this.
SILENCE_S = 60.0


class Relay:
    """Answers requests of its own, public methods by their names, and passes on all others."""

    def __init__(self, out: Any) -> None:
        self._out, self._write = out, threading.Lock()
        self._cache = cache_folder()
        self._modules: list[str] = []
        self._files, self._guard = FileCache(self._cache / "files"), Guard(self._cache)
        self._scratch = Path(tempfile.mkdtemp(prefix="deploy-prune-"))
        self._session: Session | None = None
        self._waiting: Any = None  # id and name of the request that the child has not answered
        self._one = threading.Lock()  # of the two threads takes it

    def take(self, line: bytes) -> None:
        """Answer one request, or pass it on."""
        request = json.loads(line.decode("utf-8"))
        if request["do"] not in OWN_REQUESTS:
            self._forward(request)
            return
        arguments = {key: value for key, value in request.items() if key not in ("id", "do")}
        self._reply(request["id"], lambda: getattr(self, request["do"])(**arguments))

    def hello(self, modules: list[str]) -> dict[str, Any]:
        """Who is there; ``modules`` are the names of those that make the child."""
        self._modules = modules
        return {"python": platform.python_version(), "pid": os.getpid(), "cache": str(self._cache)}

    def hold(self, holder: str, purpose: str, power: dict[str, Any] | None, root: str) -> dict[str, Any]:
        """See ``Guard.hold``."""
        changes = self._guard.hold(holder, purpose, power, Path(root))
        self._guard.tell(folder=str(self._scratch))
        return {"changes": changes}

    def find(self, digest: str, size: int) -> dict[str, Any]:
        """See ``FileCache.find``."""
        return self._files.find(digest, size)

    def put(self, digest: str, offset: int, data: str) -> dict[str, Any]:
        """See ``FileCache.put``."""
        return self._files.put(digest, offset, data)

    def keep(self, digest: str) -> dict[str, Any]:
        """See ``FileCache.keep``."""
        return self._files.keep(digest)

    def device(self, engines: list[str], root: str, trtexec: str | None = None, brief: bool = False) -> dict[str, Any]:
        """See ``read_device``."""
        return read_device(engines, Path(root), trtexec, brief)

    def end(self) -> None:
        """End the child, remove its files, let go of the lock."""
        if self._session is not None:
            self._session.end()
        clean_up([], [str(self._scratch)])
        self._guard.leave()

    def _forward(self, request: dict[str, Any]) -> None:
        def prepare() -> None:
            if self._session is None:
                self._session = Session(self._modules, self._scratch, self._pass_on)
                self._guard.tell(group=self._session.group)
            if request["do"] == "load" and not isinstance(request["model"], str):
                folder = Path(tempfile.mkdtemp(dir=str(self._scratch))) / "model"
                request["model"] = self._files.link(request["model"], folder)

        if self._reply(request["id"], prepare, only_errors=True) and self._session is not None:
            self._waiting = (request["id"], request["do"])
            self._session.send(json.dumps(request).encode() + b"\n")
            if self._session.ended.is_set():
                self._tell_death()  # it may have died before this request, which nobody was told of

    def _pass_on(self, line: bytes) -> None:
        """Called by the session's thread."""
        if line:
            self._take_waiting()
            self._send(line.decode("utf-8"))
        else:
            self._tell_death()

    def _tell_death(self) -> None:
        """Answer for the child, if it owes an answer."""
        waiting = self._take_waiting()
        if waiting is not None and self._session is not None:
            number, do = waiting
            message = f"the measuring process died during {do!r} {self._session.last_words()}"
            self._send(json.dumps({"id": number, "error": {"kind": "died", "message": message}}) + "\n")

    def _take_waiting(self) -> Any:
        with self._one:
            waiting, self._waiting = self._waiting, None
        return waiting

    def _reply(self, number: int, act: Any, only_errors: bool = False) -> bool:
        """Reply with what ``act`` returns or raises; whether it returned."""
        try:
            reply = {"id": number, "result": act()}
        except RefusedError as refused:
            reply = {"id": number, "error": {"kind": refused.kind, "message": str(refused)}}
        except Exception as error:
            traceback.print_exc()
            reply = {"id": number, "error": {"kind": "failed", "message": f"{type(error).__name__}: {error}"}}
        if "error" in reply or not only_errors:
            self._send(json.dumps(reply) + "\n")
        return "error" not in reply

    def _send(self, text: str) -> None:
        with self._write:
            self._out.write(text)
            self._out.flush()


def main() -> None:
    """Answer until the client is gone."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))
    relay = Relay(out)
    lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=read_lines, args=(lines,), name="requests", daemon=True).start()
    try:
        while True:
            line = lines.get(timeout=SILENCE_S)
            if not line.endswith(b"\n"):  # the end, or a line that was cut short
                break
            if line.strip():
                relay.take(line)
    except (queue.Empty, BrokenPipeError, SystemExit):
        pass  # the client is gone, nobody is left to answer
    finally:
        relay.end()
        os._exit(0)  # the thread that reads stdin may still wait, which an ordinary exit cannot end


def read_lines(lines: queue.SimpleQueue[bytes]) -> None:
    """Runs in a thread: lines of stdin, then nothing."""
    for line in sys.stdin.buffer:
        lines.put(line)
    lines.put(b"")
