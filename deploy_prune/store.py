"""The SQLite file of measurements: what was measured, on what, under which conditions, with its raw samples.

Every measurement is a transaction of its own, so that an interrupted run keeps all that it had measured, and several
runs may share one file: SQLite's write-ahead log lets readers read on while one writes, and writers wait for each
other (https://sqlite.org/wal.html).
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import json
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import platformdirs

from deploy_prune.errors import InputError

STORE_VARIABLE = "DEPLOY_PRUNE_STORE"
"""Environment variable with the path of the file, where it should not lie in the user's cache folder."""
BUSY_TIMEOUT_S = 60.0
_VERSION = 1  # of the tables below; raised with any change of them
_TABLES = """
CREATE TABLE IF NOT EXISTS measurements (
    kind TEXT NOT NULL, machine TEXT NOT NULL, engine TEXT NOT NULL, conditions TEXT NOT NULL, subject TEXT NOT NULL,
    content TEXT NOT NULL, source TEXT NOT NULL, measured_at TEXT NOT NULL,
    PRIMARY KEY (kind, machine, engine, conditions, subject)
) WITHOUT ROWID
"""


@dataclasses.dataclass(frozen=True)
class RecordKey:
    """What a measurement is of.

    Attributes:
        kind: ``variant``, ``comparison``, ``timing``, ``step`` or ``roofs``.
        machine: fingerprint of the device.
        engine: the engine with its version.
        conditions: all else that a latency depends on, as canonical JSON (threads, precision, limits …).
        subject: what was measured: a digest of the dense graph with its input shape, and widths.
    """

    kind: str
    machine: str
    engine: str
    conditions: str
    subject: str


def default_path() -> Path:
    """The file of this user: ``$DEPLOY_PRUNE_STORE``, else ``measurements.sqlite`` in the cache folder."""
    named = os.environ.get(STORE_VARIABLE)
    return Path(named) if named else platformdirs.user_cache_path("deploy_prune") / "measurements.sqlite"


class MeasurementStore:
    """A file of measurements; each call opens and closes it, so that processes can share it and forks are safe.

    Raises:
        InputError: the file cannot be made or opened, or is something else; it is then left as it was.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or default_path()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"cannot make the folder of {self.path}: {error.strerror}; choose another file") from error
        with self._connected() as connection:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version not in (0, _VERSION):
                raise InputError(
                    f"{self.path} was written by another version (tables {version}, expected {_VERSION}); "
                    "choose another file"
                )
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(_TABLES)
            connection.execute(f"PRAGMA user_version = {_VERSION}")

    def get(self, key: RecordKey) -> dict[str, Any] | None:
        """The measurement of this key, None if there is none."""
        with self._connected() as connection:
            found = connection.execute(
                "SELECT content FROM measurements"
                " WHERE kind = ? AND machine = ? AND engine = ? AND conditions = ? AND subject = ?",
                dataclasses.astuple(key),
            ).fetchone()
        return None if found is None else json.loads(found[0])

    def put(self, key: RecordKey, content: dict[str, Any], source: str) -> None:
        """Keep a measurement, in place of an earlier one of the same key; ``source`` says where it comes from."""
        now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
        with self._connected() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO measurements VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (*dataclasses.astuple(key), json.dumps(content), source, now),
            )

    @contextlib.contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        """A connection whose changes are kept if the block ends well."""
        try:
            with (
                contextlib.closing(sqlite3.connect(self.path, timeout=BUSY_TIMEOUT_S)) as connection,
                connection,
            ):
                yield connection
        except sqlite3.Error as error:
            raise InputError(
                f"{self.path} cannot be used as a file of measurements ({error}); choose another"
            ) from error
