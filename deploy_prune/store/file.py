"""The SQLite file of measurements: reading, writing, removing.

Every measurement is a transaction of its own, with the rows of its layers, so that an interrupted run keeps all that it
had measured, and several runs may share one file: SQLite's write-ahead log lets readers read on while one writes, and
writers wait for each other (https://sqlite.org/wal.html).
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import platformdirs

from deploy_prune.store.record import (
    ALL,
    LayerRow,
    Measurement,
    RecordKey,
    Selection,
    StoredLayer,
    pack_samples,
    unpack_samples,
)
from deploy_prune.store.schema import connected, prepare, require_store

STORE_VARIABLE = "DEPLOY_PRUNE_STORE"
"""Environment variable with the path of the file, where it should not lie in the user's cache folder."""
_KEY = "kind = ? AND machine = ? AND engine = ? AND conditions = ? AND subject = ?"
_COLUMNS = "kind, machine, engine, conditions, subject, content, source, measured_at"
_ROW = "layer, c_in, c_out, name, time_s, samples"


def default_path() -> Path:
    """The file of this user: ``$DEPLOY_PRUNE_STORE``, else ``measurements.sqlite`` in the cache folder."""
    named = os.environ.get(STORE_VARIABLE)
    return Path(named) if named else platformdirs.user_cache_path("deploy_prune") / "measurements.sqlite"


class MeasurementStore:
    """A file of measurements; each call opens and closes it, so that processes can share it and forks are safe.

    Args:
        path: the file; by default the user's.
        existing: open what is there, for reading only; otherwise the file is made if need be.

    Raises:
        InputError: the file cannot be made or opened, or is something else; it is then left as it was.
    """

    def __init__(self, path: Path | None = None, *, existing: bool = False) -> None:
        self.path, self._read_only = path or default_path(), existing
        if existing:
            require_store(self.path)
        else:
            prepare(self.path)

    def get(self, key: RecordKey) -> dict[str, Any] | None:
        """The measurement of this key, None if there is none."""
        with self._connected() as connection:
            found = connection.execute(
                f"SELECT content FROM measurements WHERE {_KEY}", dataclasses.astuple(key)
            ).fetchone()
        return None if found is None else json.loads(found[0])

    def put(self, key: RecordKey, content: dict[str, Any], source: str, layers: Sequence[LayerRow] = ()) -> None:
        """Keep a measurement with its layers, in place of an earlier one of the same key; ``source`` says of what."""
        now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
        with self._connected() as connection:
            _write(connection, Measurement(key, content, source, now, tuple(layers)))

    def layers(self, machine: str, engine: str, conditions: str, kinds: Iterable[str]) -> list[StoredLayer]:
        """All that was measured of these kinds of layers on one device, engine and conditions, oldest first."""
        wanted = list(dict.fromkeys(kinds))
        query = (
            f"SELECT {_ROW}, subject, source, measured_at FROM layers JOIN measurements ON measurement = id"
            " WHERE machine = ? AND engine = ? AND conditions = ?"
            " AND layer IN (SELECT value FROM wanted) ORDER BY measured_at, id, position"
        )
        with self._connected() as connection:
            connection.execute("CREATE TEMP TABLE wanted (value TEXT PRIMARY KEY)")
            connection.executemany("INSERT INTO wanted VALUES (?)", [(kind,) for kind in wanted])
            rows = connection.execute(query, (machine, engine, conditions)).fetchall()
        return [StoredLayer(_as_row(row[:6]), *row[6:]) for row in rows]

    def measurements(self, selection: Selection = ALL) -> Iterator[Measurement]:
        """The selected measurements in the order of their keys, as they are at one moment."""
        where, parameters = selection.where()
        with self._connected() as connection:
            connection.execute("BEGIN")  # one snapshot for both queries
            found = connection.execute(
                f"SELECT id, {_COLUMNS} FROM measurements WHERE {where} ORDER BY {_COLUMNS}", parameters
            )
            for identity, *values, content, source, measured_at in found:
                rows = connection.execute(
                    f"SELECT {_ROW} FROM layers WHERE measurement = ? ORDER BY position", (identity,)
                )
                layers = tuple(map(_as_row, rows))
                yield Measurement(RecordKey(*values), json.loads(content), source, measured_at, layers)

    def merge(self, measurements: Iterable[Measurement]) -> tuple[int, int]:
        """Take in measurements, all or none; of two with one key the newer stays.

        Returns:
            How many were taken, and how many were not because what is here is as new.
        """
        taken = passed = 0
        with self._connected() as connection:
            for measurement in measurements:
                known = connection.execute(
                    f"SELECT measured_at FROM measurements WHERE {_KEY}", dataclasses.astuple(measurement.key)
                ).fetchone()
                if known is not None and known[0] >= measurement.measured_at:
                    passed += 1
                else:
                    _write(connection, measurement)
                    taken += 1
        return taken, passed

    def remove(self, selection: Selection) -> int:
        """Remove the selected measurements with their layers; how many they were."""
        where, parameters = selection.where()
        with self._connected() as connection:
            return connection.execute(f"DELETE FROM measurements WHERE {where}", parameters).rowcount

    @contextlib.contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        """A connection whose changes are kept if the block ends well."""
        with connected(self.path, read_only=self._read_only) as connection:
            yield connection


def _write(connection: sqlite3.Connection, measurement: Measurement) -> None:
    key = dataclasses.astuple(measurement.key)
    connection.execute(f"DELETE FROM measurements WHERE {_KEY}", key)
    identity = connection.execute(
        f"INSERT INTO measurements ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (*key, json.dumps(measurement.content), measurement.source, measurement.measured_at),
    ).lastrowid
    connection.executemany(
        f"INSERT INTO layers (measurement, position, {_ROW}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (identity, n, r.layer, r.c_in, r.c_out, r.name, r.time_s, pack_samples(r.samples_ns))
            for n, r in enumerate(measurement.layers)
        ],
    )


def _as_row(values: Sequence[Any]) -> LayerRow:
    layer, c_in, c_out, name, time_s, samples = values
    return LayerRow(layer, c_in, c_out, name, time_s, unpack_samples(samples))
