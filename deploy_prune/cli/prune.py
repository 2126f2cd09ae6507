"""``deploy-prune prune``: any model to latency budgets, without training."""

import re
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from deploy_prune.cli.interruption import continued_by_hand


def prune(
    model: Annotated[str, typer.Argument(help="A YOLO .pt or .yaml, torchvision/NAME, timm/NAME, or module:function.")],
    speedup: Annotated[float | None, typer.Option(help="Budget: dense latency divided by this.")] = None,
    latency_ms: Annotated[float | None, typer.Option(help="Budget: milliseconds per inference.")] = None,
    budgets: Annotated[
        str | None, typer.Option(help="Several: 1.5,2x,8ms; numbers are speed-ups unless they end with ms.")
    ] = None,
    profile: Annotated[
        list[str] | None,
        typer.Option(
            help="Hardware profile, a name or the path of a YAML file; of several, each budget is kept on all."
        ),
    ] = None,
    calibration: Annotated[
        Path | None, typer.Option(help="Folder of pictures, .npy or .npz: a width costs what it changes on these.")
    ] = None,
    image_size: Annotated[
        int | None, typer.Option(help="Side of the input in pixels; by default what suits the model.", min=1)
    ] = None,
    task: Annotated[str, typer.Option(help="Of a YOLO .yaml: detect, segment, classify, pose or obb.")] = "detect",
    importance: Annotated[
        str, typer.Option(help="Which units go first: l1, l2, or with --calibration taylor, fisher, hessian.")
    ] = "l2",
    remove_branches: Annotated[bool, typer.Option("--remove-branches", help="Whole residual branches may go.")] = False,
    out: Annotated[Path | None, typer.Option(help="Folder of the results; by default pruned/MODEL.")] = None,
) -> None:
    """Prune a model to one or several latency budgets, without training.

    Interrupt it at will: the same command continues. The exit code is 1 when a budget is not met.
    """
    from deploy_prune.hardware.profile import DEFAULT_PROFILE, load_profile
    from deploy_prune.pipeline.latency_budget import Budget, parse_budgets, refuse_mixed

    refuse_mixed(budgets, speedup, latency_ms)
    asked = parse_budgets(budgets) if budgets is not None else (Budget.of(speedup=speedup, latency_ms=latency_ms),)
    device, *also = [load_profile(name) for name in profile or [DEFAULT_PROFILE]]

    from deploy_prune.pipeline.prune import prune_named  # only now: mistakes need not wait for torch
    from deploy_prune.pipeline.prune_request import PruneRequest
    from deploy_prune.report.front_table import front_table

    request = PruneRequest(
        model, asked, device, image_size, task, calibration, importance, remove_branches, tuple(also)
    )
    folder, console = out or Path("pruned") / re.sub(r"[^\w.-]+", "_", Path(model).name), Console()
    with continued_by_hand():
        front = prune_named(request, folder, console)
    console.print(front_table(front, console.width))
    console.print(f"Models by budget, reports and the front: {folder}", highlight=False, soft_wrap=True)
    if not front.met:
        raise typer.Exit(1)
