"""``deploy-prune sweep``: models to budgets on several devices."""

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from deploy_prune.cli.files import write_text
from deploy_prune.cli.interruption import continued_by_hand

if TYPE_CHECKING:  # mistakes in the arguments need not wait for these
    from deploy_prune.pipeline.fleet_processes import JobOutcome
    from deploy_prune.report.fleet import Fleet

_FILES = {"json": "json", "md": "markdown", "csv": "csv"}


def sweep(
    file: Annotated[Path, typer.Argument(help="Models, budgets, profiles and precisions: a YAML file.")],
    ray: Annotated[
        str | None, typer.Option(help="Address of a Ray cluster that runs the jobs, or auto; otherwise this machine.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the results; by default sweeps/NAME.")] = None,
) -> None:
    """Prune models to budgets on several devices, and write one table of all.

    Interrupt it at will: the same command continues. The exit code is 1 when a job failed or a budget is not met.
    """
    from deploy_prune.pipeline.fleet_processes import run_in_processes
    from deploy_prune.pipeline.fleet_sweep import read_sweep
    from deploy_prune.pipeline.store import RunStore

    asked = read_sweep(file)
    address, folder, console = ray or asked.ray, out or Path("sweeps") / asked.name, Console()
    jobs, store = asked.jobs(folder), RunStore(folder)
    if address is None:
        outcomes = run_in_processes(jobs)
    else:
        from deploy_prune.pipeline.fleet_ray import run_on_ray

        outcomes = run_on_ray(jobs, address)
    done: list[JobOutcome] = []
    status = console.status(f"0 of {len(jobs)} jobs done")
    with continued_by_hand(), store.locked(), contextlib.closing(outcomes), status:
        for outcome in outcomes:
            done.append(outcome)
            _print_outcome(outcome, console)
            status.update(f"{len(done)} of {len(jobs)} jobs done")
            fleet = _gather(sorted(done, key=lambda one: jobs.index(one.job)), folder)
            for suffix, form in _FILES.items():
                write_text(folder / f"fleet.{suffix}", getattr(fleet, f"to_{form}")())
    console.print(fleet.to_table(console.width))
    console.print(f"The table as fleet.md, fleet.csv and fleet.json, and a folder per model: {folder}", soft_wrap=True)
    if not fleet.met:
        raise typer.Exit(1)


def _print_outcome(outcome: "JobOutcome", console: Console) -> None:
    if outcome.front is None:
        line = f"failed: {outcome.problem}"
    else:
        met = sum(point.met for point in outcome.front.points)
        line = f"{met} of {len(outcome.front.points)} budgets met"
    console.print(f"{outcome.job.name}: {line}", highlight=False, soft_wrap=True, markup=False)


def _gather(outcomes: list["JobOutcome"], folder: Path) -> "Fleet":
    """The rows of all jobs that have a result; paths in them are relative to the sweep's folder."""
    from deploy_prune.report.fleet import FailedJob, Fleet, fleet_rows

    rows = [
        row
        for one in outcomes
        if one.front is not None
        for row in fleet_rows(one.front, one.job.model.label, os.path.relpath(one.job.folder, folder))
    ]
    failed = [FailedJob(one.job.name, one.problem) for one in outcomes if one.front is None]
    return Fleet(tuple(rows), tuple(failed))
