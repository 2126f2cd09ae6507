"""A real sshd as the board, on a loopback port with keys of its own, behind a cable that can be cut at any byte."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from deploy_prune.hardware.profile import HardwareProfile
from deploy_prune.runtime import hosts, remote

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
SSHD_CONFIG = """\
ListenAddress 127.0.0.1
Port {port}
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/user_key.pub
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
"""
SSH_CONFIG = """\
Host board
  HostName 127.0.0.1
  HostKeyAlias board
  Port {port}
  User {user}
  IdentityFile {folder}/user_key
  IdentitiesOnly yes
  IdentityAgent none
  UserKnownHostsFile {folder}/known_hosts
  GlobalKnownHostsFile /dev/null
"""


class Cable:
    """Passes bytes between ssh and sshd; ``cut`` breaks every connection, ``cut_after`` once so many have gone up."""

    def __init__(self, port: int) -> None:
        self._target, self._left, self._lock = port, None, threading.Lock()
        self._sockets = []
        self.sent_bytes, self.connections = 0, 0
        self._open(0)
        self.port = self._listener.getsockname()[1]

    def _open(self, port: int) -> None:
        self._listener = socket.create_server(("127.0.0.1", port))
        threading.Thread(target=self._accept, daemon=True).start()

    def cut_after(self, count: int) -> None:
        self._left = count

    def cut(self) -> None:
        for end in self._sockets:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        self._sockets = []

    def go_away(self, seconds: float) -> None:
        """Cut, and refuse connections for a while, as a board that restarts does."""
        self.close()
        threading.Timer(seconds, self._open, (self.port,)).start()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client = self._listener.accept()[0]
                server = socket.create_connection(("127.0.0.1", self._target))
                self.connections += 1
                self._sockets += [client, server]
                for ends in ((client, server, True), (server, client, False)):
                    threading.Thread(target=self._pump, args=ends, daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, up: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(16384):
                if up:
                    with self._lock:
                        if self._left is not None and len(data) >= self._left:
                            target.sendall(data[: self._left])
                            self._left = None
                            self.cut()
                            return
                        self.sent_bytes += len(data)
                        if self._left is not None:
                            self._left -= len(data)
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def wait_until(true, seconds=15.0):
    end = time.monotonic() + seconds
    while not (done := true()) and time.monotonic() < end:
        time.sleep(0.05)
    return done


def make_key(path: Path) -> str:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
    return path.with_name(path.name + ".pub").read_text()


@pytest.fixture(scope="session")
def sshd(tmp_path_factory):
    """The port of a running sshd, and the folder of its keys; skips where there is none."""
    if SSHD is None or shutil.which("ssh") is None:
        pytest.skip("no sshd on this machine: install openssh-server (it need not be started)")
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # where root's sshd separates its privileges
    folder, port = tmp_path_factory.mktemp("sshd"), free_port()
    known = make_key(folder / "host_key")
    make_key(folder / "user_key")
    (folder / "known_hosts").write_text(f"board {known}")
    (folder / "sshd_config").write_text(SSHD_CONFIG.format(port=port, folder=folder))
    server = subprocess.Popen([SSHD, "-D", "-e", "-f", folder / "sshd_config"], stderr=(folder / "log").open("w"))
    try:
        if not wait_until(lambda: _answers(port), 10):
            pytest.skip(f"sshd does not start here: {(folder / 'log').read_text().strip()}")
        yield port, folder
    finally:
        server.terminate()
        server.wait(10)


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False


class SshBoard:
    """The board as tests see it: its profile, its folders, its cable."""

    def __init__(self, folder: Path, cable: Cable, known_hosts: Path) -> None:
        self.cable, self.known_hosts = cable, known_hosts
        self.cache, self.scratch = folder / "cache", folder / "scratch"
        self.scratch.mkdir()

    @property
    def files(self) -> list[str]:
        return sorted(path.name for path in (self.cache / "deploy_prune/files").glob("*"))

    def profile(self, brief: HardwareProfile, **changes) -> HardwareProfile:
        environment = {"XDG_CACHE_HOME": str(self.cache), "TMPDIR": str(self.scratch), **changes.pop("environment", {})}
        way = {"host": "board", "python": sys.executable, "environment": environment}
        return HardwareProfile.model_validate({**brief.model_dump(), **way, **changes})

    def processes(self) -> list[int]:
        """All that run there for this test."""
        return processes_with(str(self.scratch))

    def is_clean(self) -> bool:
        """Nothing is left but the cache: no process and no temporary file, within a few seconds."""
        return wait_until(lambda: not list(self.scratch.iterdir()) and not self.processes())


def processes_with(text: str) -> list[int]:
    """Processes that have ``text`` in their environment, without this one."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if text.encode() in path.read_bytes() and int(path.parent.name) != os.getpid():
                found.append(int(path.parent.name))
    return found


@pytest.fixture
def board(sshd, tmp_path, monkeypatch):
    """A fresh account of the board, with short pauses before further tries."""
    port, keys = sshd
    cable = Cable(port)
    known_hosts = tmp_path / "known_hosts"
    shutil.copy(keys / "known_hosts", known_hosts)
    shutil.copy(keys / "user_key", tmp_path / "user_key")
    user = subprocess.run(["id", "-un"], check=True, capture_output=True, text=True).stdout.strip()
    (tmp_path / "ssh_config").write_text(SSH_CONFIG.format(port=cable.port, user=user, folder=tmp_path))
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "ssh").write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {tmp_path}/ssh_config "$@"\n')
    (programs / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=os.pathsep)
    monkeypatch.setattr(remote, "PAUSES_S", (0.1, 0.2, 0.2))
    hosts._ask_host.cache_clear()
    yield SshBoard(tmp_path, cable, known_hosts)
    cable.close()
