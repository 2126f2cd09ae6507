"""``deploy-prune run``: the whole pipeline of a recipe."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from deploy_prune.cli.interruption import continued_by_hand

if TYPE_CHECKING:  # mistakes in the arguments need not wait for these
    from deploy_prune.pipeline.latency_budget import Budget
    from deploy_prune.pipeline.settings import RunSettings


def run(
    recipe: Annotated[Path, typer.Argument(help="The recipe, a YAML file.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="Changes, such as train.epochs=3.")] = None,
    speedup: Annotated[float | None, typer.Option(help="Budget: dense latency divided by this.")] = None,
    latency_ms: Annotated[float | None, typer.Option(help="Budget: milliseconds per inference.")] = None,
    budgets: Annotated[
        str | None, typer.Option(help="Several: 1.5,2x,8ms; numbers are speed-ups unless they end with ms.")
    ] = None,
    profile: Annotated[str | None, typer.Option(help="Hardware profile, in place of the recipe's.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the run; by default runs/NAME.")] = None,
    alternatives: Annotated[
        bool, typer.Option("--alternatives", help="Also measure lower resolutions, smaller networks and INT8.")
    ] = False,
) -> None:
    """Train, prune to the budget, finetune, export, measure and report.

    With --budgets the dense model is trained and profiled once, and a front over all budgets is written. Interrupt it
    at will: the same command continues.
    """
    from deploy_prune.pipeline.latency_budget import parse_budgets, refuse_mixed
    from deploy_prune.pipeline.recipe import parse_overrides, read_recipe
    from deploy_prune.pipeline.settings import RunSettings

    refuse_mixed(budgets, speedup, latency_ms)
    changes = parse_overrides(overrides or [])
    budget = {"speedup": speedup, "latency_ms": latency_ms}
    if any(value is not None for value in budget.values()):
        changes |= {f"budget.{name}": value for name, value in budget.items()}  # further limits stay
    if profile is not None:
        changes["profile"] = profile
    if alternatives:
        changes["alternatives"] = True
    if budgets is not None:
        changed = {
            asked: {**changes, "budget.speedup": asked.speedup, "budget.latency_ms": asked.latency_ms}
            for asked in parse_budgets(budgets)
        }
        runs = {asked: RunSettings.of(read_recipe(recipe, those)) for asked, those in changed.items()}
        _run_several(runs, out)
        return
    settings = RunSettings.of(read_recipe(recipe, changes))

    from deploy_prune.pipeline.run import run_recipe  # only now: mistakes need not wait for torch
    from deploy_prune.report.table import result_table, summary_lines

    folder, console = out or Path("runs") / settings.recipe.name, Console()
    with continued_by_hand():
        result = run_recipe(settings, folder, console)
    console.print(result_table(result))
    for line in (*summary_lines(result), f"Report, pictures and report.json: {folder / 'report'}"):
        console.print(line, highlight=False, soft_wrap=True)
    if not result.all_kept:
        raise typer.Exit(1)


def _run_several(runs: dict["Budget", "RunSettings"], out: Path | None) -> None:
    from deploy_prune.pipeline.budget_runs import run_budgets
    from deploy_prune.report.front_table import front_table

    name = next(iter(runs.values())).recipe.name
    folder, console = out or Path("runs") / name, Console()
    with continued_by_hand():
        front = run_budgets(runs, folder, console)
    console.print(front_table(front, console.width))
    console.print(f"Runs by budget, and the front: {folder}", highlight=False, soft_wrap=True)
    if not front.met:
        raise typer.Exit(1)
