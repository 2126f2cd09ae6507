"""``deploy-prune profiles``: hardware profiles."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from deploy_prune.cli.files import write_text

profiles_app = typer.Typer(help="Hardware profiles: which there are, and which can run here.")


@profiles_app.callback(invoke_without_command=True)
def profiles(
    context: typer.Context,
    file: Annotated[list[Path] | None, typer.Option(help="Show this profile of your own instead.")] = None,
) -> None:
    """List the hardware profiles that come with the package, and what keeps each from running on this machine."""
    if context.invoked_subcommand is not None:
        return
    from deploy_prune.hardware.profile import list_profiles
    from deploy_prune.pipeline.profiles import describe_profiles
    from deploy_prune.report.profiles import profiles_table

    Console().print(profiles_table(describe_profiles([str(path) for path in file or ()] or list_profiles())))


@profiles_app.command()
def detect(
    out: Annotated[Path | None, typer.Option(help="The YAML file to write; by default it is printed.")] = None,
) -> None:
    """Write a profile for this machine: its processor, instruction sets, cores, clocks and installed engines."""
    from deploy_prune.hardware.detect import detect_profile

    if out is None:
        typer.echo(detect_profile(), nl=False)
    else:
        write_text(out, detect_profile())
