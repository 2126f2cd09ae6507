"""The process that holds a model, as a child of the relay: whatever its engine does, the relay still answers."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from deploy_prune.runtime.worker.bootstrap import BOOTSTRAP, pack_sources, sent_sources

GRACE_S = 1.0
_LAST_WORDS_BYTES = 4096


class Session:
    """A child that answers requests as ``process`` does; its replies are passed on as they come.

    ``ended`` is set once it answers no more.

    Args:
        modules: names of the modules that make the child.
        scratch: its folder for temporary files.
        pass_on: called with each line of reply, and with nothing (b"") when the child has ended.
    """

    def __init__(self, modules: list[str], scratch: Path, pass_on: Callable[[bytes], None]) -> None:
        self._stderr = scratch / "stderr"
        flags = ["-I"] if sys.flags.isolated else []
        with self._stderr.open("wb") as stderr:
            self._process = subprocess.Popen(
                [sys.executable, *flags, "-u", "-c", BOOTSTRAP], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=stderr, env={**os.environ, "TMPDIR": str(scratch)}, start_new_session=True,
            )  # fmt: skip
        self._pass_on, self.ended = pass_on, threading.Event()
        threading.Thread(target=self._collect, name="replies", daemon=True).start()
        self.send(pack_sources(sent_sources(modules)))

    @property
    def group(self) -> int:
        """The process group of the child and of all that it starts."""
        return self._process.pid

    def send(self, line: bytes) -> None:
        """Give the child one line; that it has ended is told by its replies."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(line)
            self._process.stdin.flush()

    def last_words(self) -> str:
        """How the child ended, in words."""
        code = self._process.wait()
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        said = self._stderr.read_bytes()[-_LAST_WORDS_BYTES:].decode(errors="replace").split("\n")
        return f"({how}): {next((line.strip() for line in reversed(said) if line.strip()), 'without a word')}"

    def end(self) -> None:
        """End the child in order, or by force with all that it has started."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(GRACE_S)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.group, signal.SIGKILL)
        self._process.wait()

    def _collect(self) -> None:
        output: Any = self._process.stdout
        for line in output:
            self._pass_on(line)
        self.ended.set()
        self._pass_on(b"")
