"""A device as `deploy-prune device check` shows it."""

from __future__ import annotations

import dataclasses

from rich.table import Table


@dataclasses.dataclass(frozen=True)
class DeviceReport:
    """What a device is, what it can measure with, and what a run under a profile would do to it.

    ``facts`` are pairs of name and value; ``engines`` the installed ones with their versions. ``obstacles`` keep the
    profile from being measured there, ``changes`` are what a run would set and put back, ``warnings`` what makes
    its numbers doubtful. All in words.
    """

    host: str
    facts: tuple[tuple[str, str], ...]
    engines: tuple[str, ...]
    profile: str
    obstacles: tuple[str, ...]
    changes: tuple[str, ...]
    warnings: tuple[str, ...]

    def to_table(self) -> Table:
        """The table for the terminal."""
        table = Table(title=self.host, show_header=False, title_justify="left")
        table.add_column(no_wrap=True)
        table.add_column()
        for name, value in self.facts:
            table.add_row(name, value)
        table.add_row("engines", "\n".join(self.engines) or "none")
        verdict = "yes" if not self.obstacles else "no: " + "\n".join(self.obstacles)
        table.add_row(f"{self.profile} can run", verdict)
        table.add_row("a run would change", "\n".join(self.changes) or "nothing")
        if self.warnings:
            table.add_row("beware", "\n".join(self.warnings))
        return table
