"""``deploy-prune verify``: is an artifact folder what the run wrote?"""

from pathlib import Path
from typing import Annotated

import typer


def verify(artifact: Annotated[Path, typer.Argument(help="The artifact folder of a run.")]) -> None:
    """Check an artifact's manifest and checksums, run its file, and compare the outputs on its samples."""
    from deploy_prune.artifact.verify import find_faults, list_left_out

    faults = find_faults(artifact)
    for fault in faults:
        typer.echo(f"fault: {fault}", err=True)
    if faults:
        raise typer.Exit(1)
    for left_out in list_left_out(artifact):
        typer.echo(f"not run: {left_out}")
    typer.echo(f"{artifact}: files, checksums and outputs are as the run wrote them")
