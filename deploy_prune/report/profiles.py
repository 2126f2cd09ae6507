"""The hardware profiles as a table: what each measures with, and whether it can run here."""

import dataclasses
from collections.abc import Sequence

from rich.table import Table

HEADINGS = ("profile", "engine", "device", "threads", "precision", "runs here")


@dataclasses.dataclass(frozen=True)
class ProfileEntry:
    """One profile; ``obstacles`` keep it from running here, ``untested`` says that it has not run anywhere yet."""

    name: str
    engine: str
    device: str
    threads: int
    precision: str
    obstacles: tuple[str, ...]
    untested: bool

    @property
    def runs_here(self) -> str:
        """``yes``, or all that is missing."""
        verdict = f"no: {'; '.join(self.obstacles)}" if self.obstacles else "yes"
        return f"{verdict} (not run on such a device yet)" if self.untested else verdict


def profiles_table(entries: Sequence[ProfileEntry]) -> Table:
    """The table for the terminal."""
    table = Table()
    for heading in HEADINGS:
        table.add_column(heading, no_wrap=heading == "profile", justify="right" if heading == "threads" else "left")
    for e in entries:
        table.add_row(e.name, e.engine, e.device, str(e.threads), e.precision, e.runs_here)
    return table
