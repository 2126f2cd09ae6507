"""``deploy-prune device``: the machines that can be measured on."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

device_app = typer.Typer(help="The devices that can be measured on, by ssh.", no_args_is_help=True)


@device_app.callback()
def device() -> None:
    """Keep ``check`` a command of its own, which a group of one command is not otherwise."""


@device_app.command()
def check(
    host: Annotated[str, typer.Argument(help="What follows `ssh`, such as user@board or a name in ~/.ssh/config.")],
    profile: Annotated[str, typer.Option(help="The profile to measure under: a name or a YAML file.")] = "",
    python: Annotated[
        str, typer.Option(help="The Python there, where its engines are; by default the profile's.")
    ] = "",
) -> None:
    """Say what a device is, which engines it has, and what a run under the profile would change there."""
    from deploy_prune.hardware.profile import DEFAULT_PROFILE, load_profile
    from deploy_prune.pipeline.device_check import check_device

    wanted = load_profile(Path(profile) if profile.endswith((".yaml", ".yml")) else profile or DEFAULT_PROFILE)
    update = {"host": host, **({"python": python} if python else {})}
    report = check_device(wanted.model_copy(update=update))
    Console().print(report.to_table())
    raise typer.Exit(1 if report.obstacles else 0)
