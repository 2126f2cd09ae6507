"""The system's ssh as the way to another machine: its keys, agents, jump hosts and known hosts are the user's own."""

from __future__ import annotations

from collections.abc import Callable

from deploy_prune.errors import ConnectionLostError, InputError, MeasurementError, UnreachableHostError
from deploy_prune.hardware.profile import HardwareProfile

# Nothing is asked at a terminal; a host that answers no more is given up after 15 s. Whether a host's key is known is
# decided by the user's own ssh configuration and is never switched off here.
OPTIONS = (
    *("-T", "-x", "-a"),
    *("-o", "BatchMode=yes", "-o", "ConnectTimeout=10"),
    *("-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=3"),
)
# Exit code of ssh for its own failures (ssh(1), "EXIT STATUS"), and of a shell that finds no such command.
SSH_FAILED, NOT_FOUND = 255, 127
# What is sent while ssh may still be connecting.
FIRST_REQUESTS = ("start", "hello")
# What ssh says of a host that is off, or that restarts.
_SILENT = ("Connection refused", "timed out", "No route to host")
# What ssh says when it cannot connect -> what to do about it.
_ADVICE = {
    "Host key verification failed": "its key is not the known one: run `ssh {host}` once, and compare the fingerprint "
    "with the board's own before accepting it",
    "Permission denied": "it takes none of this user's keys: set up key login with `ssh-copy-id {host}`",
    "Could not resolve hostname": "there is no such host: correct 'host' in the profile, or name it in ~/.ssh/config",
    "Connection refused": "no ssh server answers there: is the board on, and sshd running?",
    "timed out": "it does not answer: is the board on, and in this network?",
    "No route to host": "it cannot be reached: is the board on, and in this network?",
}


def ssh_prefix(host: str) -> tuple[str, ...]:
    """The words before the command that is to run on ``host``.

    Raises:
        InputError: ssh would take it for an option.
    """
    if host.startswith("-") or not host.strip():
        raise InputError(f"a profile's 'host' is what follows `ssh`, such as user@board, got {host!r}")
    return ("ssh", *OPTIONS, "--", host)


def interpreter(profile: HardwareProfile) -> tuple[str, ...]:
    """The Python on the profile's host, with the environment that the profile gives it."""
    settings = [f"{name}={value}" for name, value in profile.environment.items()]
    return ("env", *settings, profile.python) if settings else (profile.python,)


def explain_for(profile: HardwareProfile) -> Callable[[str, int, str], MeasurementError]:
    """A function of the request, ssh's exit code and its last words, for what a user can act on."""

    def explain(do: str, code: int, said: str) -> MeasurementError:
        host = profile.host or "this machine"
        if code == NOT_FOUND:
            return MeasurementError(f"{host} has no {profile.python} ({said}); name its Python under 'python'")
        connecting = code == SSH_FAILED and do in FIRST_REQUESTS  # later, a time-out is a connection that was lost
        for words, advice in _ADVICE.items():
            if connecting and words in said:
                error = UnreachableHostError if words in _SILENT else MeasurementError
                return error(f"cannot connect to {host}: {advice.format(host=host)} ({said})")
        if code in (SSH_FAILED, 0) or code < 0:
            return ConnectionLostError(f"the connection to {host} was lost during {do!r}: {said}")
        return MeasurementError(f"the worker on {host} ended during {do!r} with code {code}: {said}")

    return explain
