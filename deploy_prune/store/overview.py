"""What a file of measurements holds, counted by SQLite without reading it all."""

from __future__ import annotations

import dataclasses
import itertools
import statistics
from collections.abc import Sequence
from typing import Any

from deploy_prune.store.file import MeasurementStore
from deploy_prune.store.record import ALL, Selection
from deploy_prune.store.schema import connected

_PLACE = "machine, engine, conditions"


@dataclasses.dataclass(frozen=True)
class SourceCount:
    """How much was measured of one model, or of the device itself, in one place.

    ``kinds`` counts the measurements by kind, ``layers`` the layer rows; ``first`` and ``last`` are ISO 8601 in UTC.
    """

    machine: str
    engine: str
    conditions: str
    source: str
    kinds: tuple[tuple[str, int], ...]
    layers: int
    first: str
    last: str


@dataclasses.dataclass(frozen=True)
class WidthTime:
    """One kind of layer at one pair of widths: the median of its typical times, how many there are, and of what."""

    machine: str
    engine: str
    conditions: str
    layer: str
    c_in: int
    c_out: int
    median_s: float
    count: int
    sources: tuple[str, ...]


def count_sources(store: MeasurementStore, selection: Selection = ALL) -> list[SourceCount]:
    """Everything that is selected, by device, engine, conditions and model."""
    where, parameters = selection.where()
    query = (
        f"SELECT {_PLACE}, source, kind, count(*), min(measured_at), max(measured_at), sum(layers) FROM"
        " (SELECT *, (SELECT count(*) FROM layers WHERE measurement = id) AS layers FROM measurements"
        f" WHERE {where}) GROUP BY {_PLACE}, source, kind ORDER BY {_PLACE}, source, kind"
    )
    with connected(store.path, read_only=True) as connection:
        rows = connection.execute(query, parameters).fetchall()
    places = itertools.groupby(rows, key=lambda row: row[:4])
    return [_count_source(place, list(found)) for place, found in places]


def list_widths(store: MeasurementStore, selection: Selection = ALL) -> list[WidthTime]:
    """Every kind of layer at every pair of widths that was measured, in the order of place, kind and widths."""
    where, parameters = selection.where()
    query = (
        f"SELECT {_PLACE}, layer, c_in, c_out, time_s, source FROM layers JOIN measurements ON measurement = id"
        f" WHERE {where} ORDER BY {_PLACE}, layer, c_in, c_out"
    )
    with connected(store.path, read_only=True) as connection:
        rows = connection.execute(query, parameters).fetchall()
    keys = itertools.groupby(rows, key=lambda row: row[:6])
    return [_take_median(key, list(found)) for key, found in keys]


def _count_source(place: Sequence[str], rows: Sequence[Sequence[Any]]) -> SourceCount:
    """The rows are of one place and source, one per kind of measurement."""
    machine, engine, conditions, source = place
    kinds = tuple((kind, count) for *_, kind, count, _, _, _ in rows)
    firsts, lasts, layers = zip(*(row[-3:] for row in rows), strict=True)
    return SourceCount(machine, engine, conditions, source, kinds, sum(layers), min(firsts), max(lasts))


def _take_median(key: Sequence[Any], rows: Sequence[Sequence[Any]]) -> WidthTime:
    """The rows are of one place, kind of layer and widths, one per time."""
    machine, engine, conditions, layer, c_in, c_out = key
    times_s, sources = zip(*(row[-2:] for row in rows), strict=True)
    median_s = statistics.median(times_s)
    unique = tuple(sorted(set(sources)))
    return WidthTime(machine, engine, conditions, layer, c_in, c_out, median_s, len(rows), unique)
