"""``deploy-prune data``: write the embedded data sets."""

from pathlib import Path
from typing import Annotated

import typer

data_app = typer.Typer(help="Write the embedded data sets.", no_args_is_help=True)


@data_app.command()
def digits(
    out: Annotated[Path, typer.Option(help="The folder to write.")],
    task: Annotated[
        str, typer.Option(help="detect, segment, pose, obb, classify, semantic, coco or digits; see docs/tasks.md.")
    ] = "detect",
    train: Annotated[int, typer.Option(help="Training images.")] = 800,
    val: Annotated[int, typer.Option(help="Validation images.")] = 200,
    image_size: Annotated[int, typer.Option(help="Side of the square images in pixels.")] = 160,
    seed: Annotated[int, typer.Option(help="What the images are drawn from.")] = 0,
) -> None:
    """Write scenes of handwritten digits over photographs, in the format of a task."""
    from deploy_prune.datasets.write import write_digits

    typer.echo(write_digits(task, out, train=train, val=val, image_size=image_size, seed=seed))
