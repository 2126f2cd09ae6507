"""What a long command says when it is interrupted."""

import contextlib
import shlex
import sys
from collections.abc import Iterator

import typer


@contextlib.contextmanager
def continued_by_hand() -> Iterator[None]:
    """On Ctrl-C say how to go on; what was done stays."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo(f"interrupted; continue with: deploy-prune {shlex.join(sys.argv[1:])}", err=True)
        raise typer.Exit(130) from None
