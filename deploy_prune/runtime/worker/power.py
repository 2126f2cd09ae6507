"""Set a machine's power mode, governor and clocks, with a journal from which they are always put back.

Every command goes through ``sudo -n``, which asks for no password and fails where one is needed. Each change's undoing
is on the disk before the change is made. The commands are those of NVIDIA's Jetson Linux developer guide ("nvpmodel",
"jetson_clocks") and of the kernel's cpufreq; they have not run on a Jetson or a Raspberry Pi yet.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deploy_prune.runtime.worker.refusal import RefusedError

COMMAND_TIMEOUT_S = 60.0
_MODEL = re.compile(r"POWER_MODEL:?\s+ID=(\d+)\s+NAME=(\S+)")
_CPUFREQ = "sys/devices/system/cpu/cpu[0-9]*/cpufreq"


class Journal:
    """Commands that put things back, newest last, in a file that outlives this process."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def apply(self, policy: dict[str, Any], root: Path) -> list[str]:
        """Make the machine as the policy asks; the changes made, in words.

        Args:
            policy: ``mode``, ``governor`` and ``clocks`` of a profile's power.
            root: where ``sys`` is.

        Raises:
            RefusedError: a change is not possible; those before it are undone.
        """
        made: list[str] = []
        try:
            if policy["mode"] is not None:
                made += self._set_mode(policy["mode"])
            if policy["governor"] is not None:
                made += self._write_all(root, "scaling_governor", policy["governor"], "governor")
            if policy["clocks"] == "locked":
                made += self._lock_clocks(root)
        except BaseException:
            self.restore()
            raise
        return made

    def restore(self) -> list[str]:
        """Undo everything in the journal, the last change first; what failed, in words, stays for the next time."""
        failed: list[str] = []
        left: list[dict[str, Any]] = []
        for entry in reversed(self._read()):
            try:
                run_command(entry["command"], entry["stdin"])
            except RefusedError as refused:  # noqa: PERF203 - one that fails must not keep the others
                failed.append(str(refused))
                left.insert(0, entry)
        self._write_entries(left)
        return failed

    def _set_mode(self, wanted: str) -> list[str]:
        current = re.search(r"NV Power Mode:\s*(\S+)\s+(\d+)", run_command(["nvpmodel", "-q"]))
        if current is None:
            raise RefusedError("power", "nvpmodel -q does not say which power mode is in force")
        if current.group(1) == wanted:
            return []
        models = {name: number for number, name in _MODEL.findall(run_command(["nvpmodel", "-p", "--verbose"]))}
        if wanted not in models:
            raise RefusedError("power", f"there is no power mode {wanted}, only {', '.join(sorted(models))}")
        self._change(
            ["sudo", "-n", "nvpmodel", "-m", models[wanted]], ["sudo", "-n", "nvpmodel", "-m", current.group(2)]
        )
        return [f"power mode {current.group(1)} -> {wanted}"]

    def _lock_clocks(self, root: Path) -> list[str]:
        if shutil.which("jetson_clocks") is None:
            made = []
            for folder in sorted(root.glob(_CPUFREQ)):
                highest = (folder / "scaling_max_freq").read_text(encoding="utf-8").strip()
                made += self._write(folder / "scaling_min_freq", highest)
            return ["lowest clock -> highest clock"] if made else []
        stored = str(self._path.with_suffix(".clocks"))
        run_command(["sudo", "-n", "jetson_clocks", "--store", stored])
        self._change(["sudo", "-n", "jetson_clocks"], ["sudo", "-n", "jetson_clocks", "--restore", stored])
        return ["clocks -> locked by jetson_clocks"]

    def _write_all(self, root: Path, name: str, value: str, word: str) -> list[str]:
        files = [folder / name for folder in sorted(root.glob(_CPUFREQ))]
        if not files:
            raise RefusedError("power", f"this kernel has no {word} to set; leave it out of the profile")
        before = sorted({path.read_text(encoding="utf-8").strip() for path in files})
        changed = [change for path in files for change in self._write(path, value)]
        return [f"{word} {' and '.join(before)} -> {value}"] if changed else []

    def _write(self, path: Path, value: str) -> list[str]:
        before = path.read_text(encoding="utf-8").strip()
        if before == value:
            return []
        command = ["sudo", "-n", "tee", str(path)]
        self._change(command, command, value, before)
        return [str(path)]

    def _change(self, do: Sequence[str], undo: Sequence[str], stdin: str = "", undo_stdin: str = "") -> None:
        before = self._read()
        self._write_entries([*before, {"command": list(undo), "stdin": undo_stdin}])
        try:
            run_command(do, stdin)
        except RefusedError:
            with contextlib.suppress(RefusedError):  # it may have done a part; most often it did nothing
                run_command(undo, undo_stdin)
            self._write_entries(before)
            raise

    def _write_entries(self, entries: list[dict[str, Any]]) -> None:
        if not entries:
            if self._path.exists():
                self._path.unlink()
            return
        temporary = self._path.with_suffix(".new")
        with temporary.open("w", encoding="utf-8") as file:
            json.dump(entries, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._path)

    def _read(self) -> list[dict[str, Any]]:
        if not self._path.exists():
            return []
        entries: list[dict[str, Any]] = json.loads(self._path.read_text(encoding="utf-8"))
        return entries


def run_command(command: Sequence[str], stdin: str = "") -> str:
    """What a command prints.

    Raises:
        RefusedError: it is not there, failed, hangs, or prints one of nvpmodel's errors.
    """
    shown = " ".join(command)
    try:
        done = subprocess.run(
            command, input=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            timeout=COMMAND_TIMEOUT_S, check=False,
        )  # fmt: skip
    except OSError as error:
        raise RefusedError("power", f"{shown}: {error.strerror}") from error
    except subprocess.TimeoutExpired as error:
        raise RefusedError("power", f"{shown} did not end within {COMMAND_TIMEOUT_S:g} s") from error
    if done.returncode or "NVPM ERROR" in done.stdout:
        raise RefusedError("power", f"{shown} failed: {' '.join(done.stdout.split()) or f'code {done.returncode}'}")
    return done.stdout
