"""``deploy-prune inspect``: what can be removed from a model."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from deploy_prune.cli.files import write_text


def inspect(
    model: Annotated[str, typer.Argument(help="A YOLO .pt or .yaml, torchvision/NAME, timm/NAME, or module:function.")],
    image_size: Annotated[
        int | None, typer.Option(help="Side of the example image in pixels; by default what suits the model.", min=1)
    ] = None,
    task: Annotated[str, typer.Option(help="Of a YOLO .yaml: detect, segment, classify, pose or obb.")] = "detect",
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    graph: Annotated[
        Path | None, typer.Option(help="Also draw the groups: a .mmd (Mermaid) or .dot (Graphviz) file.")
    ] = None,
) -> None:
    """Show what can be removed from a model, what cannot, and why."""
    from deploy_prune.report.picture import drawer

    draw = drawer(graph) if graph else None  # before the analysis: a wrong suffix need not wait for it
    from deploy_prune.pipeline.inspection import inspect_model

    found = inspect_model(model, image_size=image_size, task=task)
    if graph and draw:
        write_text(graph, draw(found))
    if json:
        typer.echo(found.to_json(), nl=False)
        return
    console = Console()
    for table in found.to_tables():
        console.print(table)
    for line in found.summary_lines():
        console.print(line, highlight=False, soft_wrap=True)
