"""The command line: arguments become a recipe or one call. Heavy imports wait until a command needs them."""

import os
import sys
from typing import Annotated

import typer

import deploy_prune
from deploy_prune.cli.bench import bench
from deploy_prune.cli.data import data_app
from deploy_prune.cli.device import device_app
from deploy_prune.cli.export import export
from deploy_prune.cli.inspect import inspect
from deploy_prune.cli.profiles import profiles_app
from deploy_prune.cli.prune import prune
from deploy_prune.cli.run import run
from deploy_prune.cli.sweep import sweep
from deploy_prune.cli.tables import tables_app
from deploy_prune.cli.verify import verify
from deploy_prune.errors import DeployPruneError, UnreachableBudgetError

TRACEBACK_VARIABLE = "DEPLOY_PRUNE_TRACEBACK"

app = typer.Typer(
    help="Make a neural network meet a latency budget on real hardware by physically removing channels.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in (run, prune, export, bench, inspect, sweep, verify):
    app.command()(command)
app.add_typer(data_app, name="data")
app.add_typer(device_app, name="device")
app.add_typer(profiles_app, name="profiles")
app.add_typer(tables_app, name="tables")


def main() -> None:
    """Run the command line; the user's mistakes end as ``error: …`` on stderr with exit code 2."""
    # torch's threads spin while they wait for each other, which on a machine with other work costs more than it saves:
    # an epoch of YOLOv8n took 369 s beside one busy process and 98 s with this. Read when torch is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        sys.exit(app(standalone_mode=False))
    except DeployPruneError as error:
        if os.environ.get(TRACEBACK_VARIABLE):
            raise
        _print_error(str(error))
        if isinstance(error, UnreachableBudgetError):  # no mistake of the user's: the budget is not met
            sys.exit(1)
    except typer.Abort:
        sys.exit(130)
    except Exception as error:
        # What typer raises for wrong arguments; the class itself moved between typer's versions.
        if not hasattr(error, "format_message"):
            raise
        _print_error(error.format_message())
    sys.exit(2)


@app.callback(invoke_without_command=True)
def options(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
    traceback: Annotated[
        bool,
        typer.Option("--traceback", help=f"Show the traceback of an error; also {TRACEBACK_VARIABLE}=1."),
    ] = False,
) -> None:
    """Make a neural network meet a latency budget on real hardware by physically removing channels."""
    if traceback:
        os.environ[TRACEBACK_VARIABLE] = "1"
    if version:
        typer.echo(f"deploy-prune {deploy_prune.__version__}")
        raise typer.Exit


def _print_error(message: str) -> None:
    for line in message.splitlines():
        typer.echo(f"error: {line}", err=True)
