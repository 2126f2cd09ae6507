"""The jobs of a sweep in processes of this machine: those of one device after each other, of several at once."""

from __future__ import annotations

import contextlib
import queue
import subprocess
import sys
import threading
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy_prune.errors import InputError
from deploy_prune.pipeline.fleet_job import REFUSED, FleetJob
from deploy_prune.report.front import Front, read_front

GRACE_S = 20.0
"""How long a job that is interrupted may take to end in order, before it is killed; its results stay either way."""

Hosts = tuple[str | None, ...]


@dataclass(frozen=True)
class JobOutcome:
    """The front that a job ended with, or None and what went wrong, in one line."""

    job: FleetJob
    front: Front | None
    problem: str = ""


Outcomes = Generator[JobOutcome, None, None]


def by_device(jobs: Sequence[FleetJob]) -> dict[Hosts, list[FleetJob]]:
    """The jobs of each device, in order; a device is never asked for by two jobs of a sweep at once."""
    found: dict[Hosts, list[FleetJob]] = {}
    for job in jobs:
        found.setdefault(job.hosts, []).append(job)
    return found


def read_outcome(job: FleetJob) -> JobOutcome:
    """The outcome of a job that has ended well."""
    try:
        return JobOutcome(job, read_front(job.front))
    except InputError as error:
        return JobOutcome(job, None, str(error))


def log_path(job: FleetJob) -> Path:
    """Where a job says what it does: beside its folder."""
    folder = Path(job.folder)
    return folder.with_name(f"{folder.name}.log")


def run_in_processes(jobs: Sequence[FleetJob]) -> Outcomes:
    """Run jobs, each in a process of its own, and give each outcome as it comes.

    Those that measure on this machine come last: until then nothing that this sweep computes disturbs them.
    """
    away = [job for job in jobs if None not in job.hosts]
    here = [job for job in jobs if None in job.hosts]
    for part in (away, here):
        with contextlib.closing(_run_queues(list(by_device(part).values()))) as outcomes:
            yield from outcomes


def _run_queues(queues: Sequence[Sequence[FleetJob]]) -> Outcomes:
    """A thread per queue waits for its processes; when this generator is closed, they are ended."""
    outcomes: queue.SimpleQueue[JobOutcome] = queue.SimpleQueue()
    running, stopped = _Running(), threading.Event()

    def work(jobs: Sequence[FleetJob]) -> None:
        for job in jobs:
            if not stopped.is_set():
                outcomes.put(running.run(job))

    threads = [threading.Thread(target=work, args=(jobs,), daemon=True) for jobs in queues]
    try:
        for thread in threads:
            thread.start()
        for _ in range(sum(map(len, queues))):
            yield outcomes.get()
    finally:
        stopped.set()
        running.end()
        for thread in threads:
            thread.join()


class _Running:
    """The processes that run at present."""

    def __init__(self) -> None:
        self._processes: set[subprocess.Popen[str]] = set()
        self._changing, self._ended = threading.Lock(), False

    def run(self, job: FleetJob) -> JobOutcome:
        """Run a job in a process and wait for it."""
        log = log_path(job)
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("w", encoding="utf-8") as said:
            with self._changing:
                if self._ended:
                    return JobOutcome(job, None, "not started")
                # A session of its own: Ctrl-C reaches the sweep alone, which then ends its jobs in order.
                process = subprocess.Popen(
                    [sys.executable, "-m", "deploy_prune.pipeline.fleet_job"], stdin=subprocess.PIPE, stdout=said,
                    stderr=said, text=True, cwd=job.working_folder, start_new_session=True,
                )  # fmt: skip
                self._processes.add(process)
            assert process.stdin is not None
            with contextlib.suppress(BrokenPipeError):  # it ended before it read; its exit code says more
                process.stdin.write(job.model_dump_json() + "\n")
                process.stdin.flush()
            code = process.wait()
        with self._changing:
            self._processes.discard(process)
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
        return read_outcome(job) if code == 0 else JobOutcome(job, None, _describe_end(code, log))

    def end(self) -> None:
        """End what runs; the end of its input tells a job to."""
        with self._changing:
            self._ended, left = True, list(self._processes)
            for process in left:
                assert process.stdin is not None
                with contextlib.suppress(BrokenPipeError):
                    process.stdin.close()
        for process in left:
            _wait_or_kill(process)


def _wait_or_kill(process: subprocess.Popen[str]) -> None:
    try:
        process.wait(GRACE_S)
    except subprocess.TimeoutExpired:
        process.kill()


def _describe_end(code: int, log: Path) -> str:
    """Why a process ended without a result."""
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines()]
    last = next((line for line in reversed(lines) if line), "it said nothing")
    if code == REFUSED:
        return last
    how = f"signal {-code}" if code < 0 else f"exit code {code}"
    return f"its process ended with {how}: {last} ({log} has more); the same command goes on where it was"
