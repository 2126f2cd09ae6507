"""What a file of measurements holds, as tables, JSON or CSV."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections.abc import Sequence
from itertools import groupby

from rich.table import Table


@dataclasses.dataclass(frozen=True)
class SourceEntry:
    """What was measured of one model on one device under one engine and its conditions; dates in UTC."""

    device: str
    engine: str
    conditions: str
    model: str
    measurements: str
    layers: int
    first: str
    last: str


@dataclasses.dataclass(frozen=True)
class WidthEntry:
    """One step of a staircase: a kind of layer at two widths, in channels, with the median of its times.

    ``count`` is the number of variants that the median is over, ``models`` that of the models they are of.
    """

    device: str
    engine: str
    conditions: str
    layer: str
    c_in: int
    c_out: int
    median_ms: float
    count: int
    models: int


Entries = Sequence[SourceEntry] | Sequence[WidthEntry]
Kind = type[SourceEntry] | type[WidthEntry]


def to_json(entries: Entries) -> str:
    """A list of objects."""
    return json.dumps([dataclasses.asdict(entry) for entry in entries], indent=2, ensure_ascii=False) + "\n"


def to_csv(entries: Entries, kind: Kind) -> str:
    """A line of headings and one per entry."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(field.name for field in dataclasses.fields(kind))
    writer.writerows(dataclasses.astuple(entry) for entry in entries)
    return out.getvalue()


def sources_tables(entries: Sequence[SourceEntry]) -> list[Table]:
    """A table for each device, engine and conditions, a row for each model."""
    tables = []
    for place, found in groupby(entries, key=lambda e: (e.device, e.engine, e.conditions)):
        table = _open_table(place, ("model", "measured", "layers", "first", "last"), right=("layers",))
        for e in found:
            table.add_row(e.model, e.measurements, str(e.layers), e.first, e.last)
        tables.append(table)
    return tables


def widths_tables(entries: Sequence[WidthEntry]) -> list[Table]:
    """A table for each device, engine and conditions; a kind of layer stands at the first of its pairs of widths."""
    tables = []
    for place, found in groupby(entries, key=lambda e: (e.device, e.engine, e.conditions)):
        numbers = ("c_in", "c_out", "median", "variants", "models")
        table = _open_table(place, ("layer", *numbers), right=numbers)
        for layer, steps in groupby(found, key=lambda e: e.layer):
            title = layer
            for e in steps:
                table.add_row(title, str(e.c_in), str(e.c_out), f"{e.median_ms:.4f} ms", str(e.count), str(e.models))
                title = ""
            table.add_section()
        tables.append(table)
    return tables


def _open_table(place: Sequence[str], headings: Sequence[str], right: Sequence[str]) -> Table:
    table = Table(title=", ".join(place), title_justify="left")
    for heading in headings:
        table.add_column(heading, justify="right" if heading in right else "left", overflow="fold")
    return table
