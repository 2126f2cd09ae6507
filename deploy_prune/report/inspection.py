"""What `deploy-prune inspect` found: what can be removed from a model, what cannot, and why."""

import dataclasses
import json

from rich.markup import escape
from rich.table import Table

from deploy_prune.report import figures

SCHEMA = 1


@dataclasses.dataclass(frozen=True)
class LayerEntry:
    """A module that owns parameters: its class, and its own MACs and parameters (of a tied one: the first owner's)."""

    name: str
    kind: str
    macs: int
    params: int


@dataclasses.dataclass(frozen=True)
class Member:
    """A layer that loses channels with a group.

    Attributes:
        layer: its name.
        axes: where, such as ``weight[0]``.
        makes, uses: whether they are channels of its output, of its input; a depthwise convolution has them in both, a
            norm layer, which only follows, in neither.
    """

    layer: str
    axes: tuple[str, ...]
    makes: bool
    uses: bool


@dataclasses.dataclass(frozen=True)
class GroupEntry:
    """Units that can be removed one by one.

    Attributes:
        name: the layer whose channels these are; ``:heads`` marks whole heads, ``:groups`` whole groups of a
            convolution.
        kind: ``channels``, ``heads`` or ``groups``; the latter hold channels that may be in another group too.
        width: number of units.
        rows: in how many equal parts the unit's channels may be chosen each for itself; mostly 1.
        macs, params: what the units touch. A weight's MACs and elements count in the proportion of its elements that
            lie in the units' slices. Removing a share of the units alone saves that share of it, or more where a weight
            has them on both axes. Products of two activations (attention scores) are in no group.
        macs_share, params_share: the same as shares of the model's, in [0, 1].
        members: the layers that change.
        attributes: Python attributes that are adjusted when units go.
    """

    name: str
    kind: str
    width: int
    rows: int
    macs: int
    params: int
    macs_share: float
    params_share: float
    members: tuple[Member, ...]
    attributes: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class FrozenEntry:
    """``width`` channels of a layer that stay: why, and the module, operator and source line where that was found."""

    name: str
    width: int
    reason: str
    module: str
    operator: str
    source: str
    members: tuple[Member, ...]

    @property
    def place(self) -> str:
        """The place in one line, as far as it is known."""
        line = f" ({self.source})" if self.source else ""
        return f"{self.module or 'the model'}: {self.operator}{line}" if self.operator else ""


@dataclasses.dataclass(frozen=True)
class OutputChannels:
    """The output channels of all layers with a weight matrix or kernel.

    Attributes:
        total: of all layers.
        free: those that some group can remove.
        at_output: those that reach the model's output and so have to stay.
    """

    total: int
    free: int
    at_output: int

    @property
    def prunable_share(self) -> float:
        """The share of free channels among those that do not reach the model's output; 1 where there are none."""
        return self.free / (self.total - self.at_output) if self.total > self.at_output else 1.0


@dataclasses.dataclass(frozen=True)
class Inspection:
    """The dependency structure of a model.

    Attributes:
        model: as the user named it.
        macs, params: of one forward pass on the example input, and of the model.
        macs_without_weights: MACs of products of two activations.
        channels: how many output channels can go.
        layers: what owns parameters, in order of first use.
        groups: what can be removed.
        frozen: what cannot.
        unknown: operators without a rule, by name, and how often they ran.
        unreached: parameters that the forward pass does not use.
    """

    model: str
    macs: int
    params: int
    macs_without_weights: int
    channels: OutputChannels
    layers: tuple[LayerEntry, ...]
    groups: tuple[GroupEntry, ...]
    frozen: tuple[FrozenEntry, ...]
    unknown: dict[str, int]
    unreached: tuple[str, ...]

    def to_json(self) -> str:
        """Everything, with the number of this schema and the prunable share."""
        content = {"schema": SCHEMA, **dataclasses.asdict(self)}
        content["channels"]["prunable_share"] = self.channels.prunable_share
        return json.dumps(content, indent=2) + "\n"

    def to_tables(self) -> tuple[Table, ...]:
        """For the terminal: groups, then what is frozen, then what the analysis did not know."""
        groups = _table("can be removed", "group", "kind", "units>", "layers>", "MACs>", "parameters>", "adjusts")
        for group in self.groups:
            kind = group.kind if group.rows == 1 else f"{group.kind} × {group.rows}"
            shares = f"{group.macs_share:.1%}", f"{group.params_share:.1%}"
            layers = len({member.layer for member in group.members})
            _add_row(groups, group.name, kind, group.width, layers, *shares, _shortened(group.attributes))
        frozen = _table("stays as it is", "layer", "channels>", "reason", "where")
        for entry in self.frozen:
            _add_row(frozen, entry.name, entry.width, entry.reason, entry.place)
        unsure = _table("not understood", "what", "why")
        for operator, times in self.unknown.items():
            _add_row(unsure, operator, f"operator without a rule, ran {times} times; its inputs stay whole")
        for parameter in self.unreached:
            _add_row(unsure, parameter, "the forward pass on this input does not use it")
        return tuple(table for table in (groups, frozen, unsure) if table.row_count)

    def summary_lines(self) -> tuple[str, ...]:
        """The sentences under the tables."""
        channels, units = self.channels, sum(group.width for group in self.groups)
        return (
            f"{units} removable units in {len(self.groups)} groups; {figures.count(self.params)} parameters, "
            f"{figures.count(self.macs)} MACs, of which {figures.count(self.macs_without_weights)} use no weight.",
            f"{channels.free} of {channels.total} output channels can go, {channels.at_output} reach the output: "
            f"{channels.prunable_share:.1%} of the rest.",
        )


def _shortened(names: tuple[str, ...]) -> str:
    return ", ".join(names[:2]) + (f" and {len(names) - 2} more" if len(names) > 2 else "")


def _table(title: str, *headings: str) -> Table:
    """An empty table; ``>`` at the end of a heading is for numbers."""
    table = Table(title=title, title_justify="left")
    for heading in headings:
        table.add_column(heading.rstrip(">"), justify="right" if heading.endswith(">") else "left", overflow="fold")
    return table


def _add_row(table: Table, *cells: str | int) -> None:
    table.add_row(*(escape(str(cell)) for cell in cells))
