"""The jobs of a sweep on a Ray cluster: an actor per device, whose jobs Ray gives to it one at a time.

Ray starts an actor anew when its process is killed and gives it the job again, which goes on where its folder says.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from deploy_prune.errors import DeployPruneError, InputError, MissingDependencyError
from deploy_prune.pipeline.fleet_job import FleetJob, run_job
from deploy_prune.pipeline.fleet_processes import Hosts, JobOutcome, Outcomes, by_device, log_path, read_outcome
from deploy_prune.runtime.device_lock import LOCKS_VARIABLE
from deploy_prune.store.file import STORE_VARIABLE

RESTARTS = 3
"""How often the process of a device is started anew, and each of its jobs given to it again."""
CONNECT_TIMEOUT_S = 10.0
_VARIABLES = (STORE_VARIABLE, LOCKS_VARIABLE)


class DeviceJobs:
    """Runs the jobs of one device in a Ray worker; ``variables`` of the environment say where files are."""

    def __init__(self, variables: dict[str, str]) -> None:
        os.environ.update(variables)

    def run(self, text: str) -> str:
        """Run a job given as JSON; the message of the error that ended it, empty where it ended well."""
        job = FleetJob.model_validate_json(text)
        os.chdir(job.working_folder)
        log = log_path(job)
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a", encoding="utf-8") as said:  # a job that is given again continues its log
            try:
                run_job(job, Console(file=said, width=160))
            except DeployPruneError as error:
                return " ".join(str(error).split())
        return ""


def run_on_ray(jobs: Sequence[FleetJob], address: str) -> Outcomes:
    """Run jobs on a cluster, and give each outcome as it comes.

    What measures on this machine is run here; other devices are reached from whichever node Ray chooses.

    Args:
        jobs: in the order in which each device gets its own.
        address: of the cluster; ``auto``: the one that this machine is in. Not used where Ray is joined already.

    Raises:
        MissingDependencyError: Ray is not installed.
        InputError: there is no such cluster.
    """
    ray = _import_ray()
    joined = not ray.is_initialized()
    if joined:
        _join(ray, address)
    try:
        yield from _run(ray, jobs)
    finally:
        if joined:
            ray.shutdown()


def _run(ray: Any, jobs: Sequence[FleetJob]) -> Outcomes:
    actor = ray.remote(num_cpus=1, max_restarts=RESTARTS, max_task_retries=RESTARTS)(DeviceJobs)
    variables = {name: str(Path(os.environ[name]).absolute()) for name in _VARIABLES if name in os.environ}
    here = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
        ray.get_runtime_context().get_node_id(), soft=False
    )
    actors: dict[Hosts, Any] = {}
    pending: dict[Any, FleetJob] = {}
    for hosts, waiting in by_device(jobs).items():
        placed = actor.options(scheduling_strategy=here) if None in hosts else actor
        actors[hosts] = placed.remote(variables)
        pending |= {actors[hosts].run.remote(job.model_dump_json()): job for job in waiting}
    while pending:
        done, _ = ray.wait(list(pending), num_returns=1)
        for result in done:
            job = pending.pop(result)
            yield _read(ray, job, result)
            if not any(left.hosts == job.hosts for left in pending.values()):
                del actors[job.hosts]  # its processor is free for the actor of another device


def _read(ray: Any, job: FleetJob, result: Any) -> JobOutcome:
    try:
        problem = ray.get(result)
    except ray.exceptions.RayError as error:
        last = next(line for line in reversed(str(error).splitlines()) if line.strip())
        return JobOutcome(
            job, None, f"{last.strip()} ({log_path(job)} has more); the same command goes on where it was"
        )
    return JobOutcome(job, None, problem) if problem else read_outcome(job)


def _import_ray() -> Any:
    try:
        import ray
        import ray.util.scheduling_strategies
    except ImportError as error:
        raise MissingDependencyError("ray is not installed; run: pip install 'deploy_prune[fleet]'") from error
    return ray


def _join(ray: Any, address: str) -> None:
    try:
        _require_listener(address)
        ray.init(address=address, log_to_driver=False, logging_level="warning")
    except (OSError, RuntimeError, ValueError) as error:  # Ray's ConnectionError is an OSError
        reason = " ".join(str(error).split())
        raise InputError(
            f"no Ray cluster at {address!r}: {reason}; start one with `ray start --head`, or leave --ray out"
        ) from error


def _require_listener(address: str) -> None:
    """Raise OSError where nothing listens at ``host:port``; Ray itself tries for minutes."""
    host, separator, port = address.removeprefix("ray://").rpartition(":")
    if separator and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_TIMEOUT_S).close()
