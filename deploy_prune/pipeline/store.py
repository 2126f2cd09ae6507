"""The folder of a run: which stages are done, for which inputs, and how a stage's output appears whole.

A stage writes into a draft folder that is renamed when it is complete, with its record inside; so a folder
under the stage's own name always holds the whole output of one key. What a long stage needs to continue after
a kill lies in its work folder, which is named by the key and removed when the stage is done.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from deploy_prune.errors import InputError

_RECORD = "stage.json"
_LOCK = ".lock"  # also the mark of a run folder


@dataclasses.dataclass(frozen=True)
class Record:
    """What is written beside a finished stage's output."""

    stage: str
    key: str  # sha256 of everything that the output depends on
    figure: str  # the stage's main figure, one short line
    duration_s: float


@dataclasses.dataclass(frozen=True)
class Draft:
    """Where a stage writes: ``out`` appears under the stage's name when whole, ``work`` survives a kill."""

    out: Path
    work: Path


def stage_key(inputs: Mapping[str, object]) -> str:
    """The sha256 (hex) of everything a stage depends on, given as values that JSON can hold."""
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()


class RunStore:
    """The stages of one run, each in its own folder below ``folder``."""

    def __init__(self, folder: Path) -> None:
        """Create the run's folder.

        Raises:
            InputError: the folder cannot be written, or holds files that are not a run's.
        """
        self.folder = folder.absolute()
        lock = self.folder / _LOCK
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            foreign = not lock.exists() and next(self.folder.iterdir(), None)
            if not foreign:
                lock.touch()
        except OSError as error:
            reason = error.strerror or error
            raise InputError(f"output folder {folder} cannot be written: {reason}; choose another with --out") from None
        if foreign:
            raise InputError(f"output folder {folder} holds files that no run wrote; choose an empty or new one")

    def output(self, stage: str) -> Path:
        """The folder of a finished stage."""
        return self.folder / stage

    def find(self, stage: str, key: str) -> Record | None:
        """The record of a stage if it was finished for this key, else None."""
        record = self.record(stage)
        return record if record is not None and record.key == key else None

    def adopt(self, stage: str, key: str, other: RunStore) -> None:
        """Take over what another run finished for this key, as hard links where the file system has them.

        Nothing is done where this run has it already. Files of stages are never written again, only replaced, so that
        neither run changes the other's.
        """
        if self.find(stage, key) is not None:
            return
        draft = self.folder / f".{stage}.draft"
        shutil.rmtree(draft, ignore_errors=True)
        shutil.copytree(other.output(stage), draft, copy_function=_link)
        self.discard(stage)
        draft.replace(self.output(stage))

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run folder; the system lets go when the process ends, however it ends.

        ``lockf`` and not ``flock``: a forked data loader that outlives a killed run must not keep the lock.

        Raises:
            InputError: another process works in this folder.
        """
        with (self.folder / _LOCK).open("a+", encoding="ascii") as lock:
            try:
                fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                lock.seek(0)
                owner = lock.read() or "unknown"
                raise InputError(
                    f"another run (process {owner}) is working in {self.folder}; "
                    "wait until it ends or choose another folder with --out"
                ) from None
            lock.truncate(0)
            lock.write(str(os.getpid()))
            lock.flush()
            yield

    def open_draft(self, stage: str, key: str) -> Draft:
        """An empty draft folder, and the work folder as an earlier attempt at the same key left it."""
        out, work = self.folder / f".{stage}.draft", self._work_folder(stage, key)
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        work.mkdir(parents=True, exist_ok=True)
        return Draft(out, work)

    def commit(self, draft: Draft, record: Record) -> None:
        """Give the draft its final name, in place of what an older key left there; end the work folder."""
        text = json.dumps(dataclasses.asdict(record), indent=2)
        (draft.out / _RECORD).write_text(text + "\n", encoding="utf-8")
        self.discard(record.stage)
        draft.out.replace(self.output(record.stage))
        for leftover in self._work_folder(record.stage, record.key).parent.glob(f"{record.stage}-*"):
            shutil.rmtree(leftover)

    def discard(self, stage: str) -> None:
        """Remove a stage's output; by renaming it first, so that half of it never looks whole."""
        output, discarded = self.output(stage), self.folder / f".{stage}.discarded"
        shutil.rmtree(discarded, ignore_errors=True)
        if output.exists():
            output.replace(discarded)
            shutil.rmtree(discarded)

    def _work_folder(self, stage: str, key: str) -> Path:
        return self.folder / "work" / f"{stage}-{key[:12]}"

    def record(self, stage: str) -> Record | None:
        """The record of a stage, whatever its key; None if it is not finished."""
        try:
            record = json.loads((self.output(stage) / _RECORD).read_text(encoding="utf-8"))
            return Record(**record)
        except (FileNotFoundError, NotADirectoryError, ValueError, TypeError):
            return None


def _link(source: str, target: str) -> None:
    """A hard link, or a copy where there can be none."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
