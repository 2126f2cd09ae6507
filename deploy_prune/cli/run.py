"""``deploy-prune run``: the whole pipeline of a recipe."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from deploy_prune.cli.interruption import continued_by_hand


def run(
    recipe: Annotated[Path, typer.Argument(help="The recipe, a YAML file.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="Changes, such as train.epochs=3.")] = None,
    speedup: Annotated[float | None, typer.Option(help="Budget: dense latency divided by this.")] = None,
    latency_ms: Annotated[float | None, typer.Option(help="Budget: milliseconds per inference.")] = None,
    profile: Annotated[str | None, typer.Option(help="Hardware profile, in place of the recipe's.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the run; by default runs/NAME.")] = None,
) -> None:
    """Train, prune to the budget, finetune, export, measure and report.

    Interrupt it at will: the same command continues.
    """
    from deploy_prune.pipeline.recipe import parse_overrides, read_recipe
    from deploy_prune.pipeline.settings import RunSettings

    changes = parse_overrides(overrides or [])
    budget = {"speedup": speedup, "latency_ms": latency_ms}
    if any(value is not None for value in budget.values()):
        changes["budget"] = budget
    if profile is not None:
        changes["profile"] = profile
    settings = RunSettings.of(read_recipe(recipe, changes))

    from deploy_prune.pipeline.run import run_recipe  # only now: mistakes need not wait for torch
    from deploy_prune.report.table import result_table, summary_lines

    folder, console = out or Path("runs") / settings.recipe.name, Console()
    with continued_by_hand():
        result = run_recipe(settings, folder, console)
    console.print(result_table(result))
    for line in (*summary_lines(result), f"Report, pictures and report.json: {folder / 'report'}"):
        console.print(line, highlight=False, soft_wrap=True)
    if not result.budget.met:
        raise typer.Exit(1)
