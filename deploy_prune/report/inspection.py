"""What `deploy-prune inspect` found: what can be removed from a model, what cannot, and why."""

import dataclasses
import json

from rich.markup import escape
from rich.table import Table

from deploy_prune.report.result import FrozenChannels


@dataclasses.dataclass(frozen=True)
class GroupEntry:
    """Units that can be removed one by one; ``layers`` lose channels with them (``name.weight[axis]``)."""

    name: str
    width: int
    layers: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Inspection:
    """The dependency structure of a model.

    Attributes:
        model: as the user named it.
        macs, params: of one forward pass on the example input, and of the model.
        groups: what can be removed.
        frozen: what cannot, with the reason and its place.
        unknown: operators without a rule, by name, and how often they ran.
        unreached: parameters that the forward pass does not use.
    """

    model: str
    macs: int
    params: int
    groups: tuple[GroupEntry, ...]
    frozen: tuple[FrozenChannels, ...]
    unknown: dict[str, int]
    unreached: tuple[str, ...]

    def to_json(self) -> str:
        """Everything."""
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"

    def to_tables(self) -> tuple[Table, ...]:
        """For the terminal: groups, then what is frozen, then what the analysis did not know."""
        groups = _table("can be removed", ("group", "units", "layers that change"))
        for group in self.groups:
            groups.add_row(escape(group.name), str(group.width), str(len(group.layers)))
        frozen = _table("stays as it is", ("channels", "reason"))
        for channels in self.frozen:
            frozen.add_row(escape(channels.name), escape(channels.reason))
        unsure = _table("not understood", ("what", "why"))
        for operator, times in self.unknown.items():
            unsure.add_row(escape(operator), f"operator without a rule, ran {times} times; its inputs stay whole")
        for parameter in self.unreached:
            unsure.add_row(escape(parameter), "the forward pass on this input does not use it")
        return tuple(table for table in (groups, frozen, unsure) if table.row_count)


def _table(title: str, headings: tuple[str, ...]) -> Table:
    table = Table(title=title, title_justify="left")
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table
