"""The tables of the file of measurements, and how it is opened without harm to what it is not."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from deploy_prune.errors import InputError

BUSY_TIMEOUT_S = 60.0
VERSION = 2  # of the tables below; raised with any change of them
_TABLES = (
    """
CREATE TABLE IF NOT EXISTS measurements (
    id INTEGER PRIMARY KEY,
    kind TEXT NOT NULL, machine TEXT NOT NULL, engine TEXT NOT NULL, conditions TEXT NOT NULL, subject TEXT NOT NULL,
    content TEXT NOT NULL, source TEXT NOT NULL, measured_at TEXT NOT NULL,
    UNIQUE (kind, machine, engine, conditions, subject)
)""",
    # the layers of a variant, in order of execution; device, engine, conditions and model are the variant's
    """
CREATE TABLE IF NOT EXISTS layers (
    measurement INTEGER NOT NULL REFERENCES measurements (id) ON DELETE CASCADE, position INTEGER NOT NULL,
    layer TEXT NOT NULL, c_in INTEGER NOT NULL, c_out INTEGER NOT NULL,
    name TEXT NOT NULL, time_s REAL NOT NULL, samples BLOB NOT NULL,
    PRIMARY KEY (measurement, position)
) WITHOUT ROWID""",
    "CREATE INDEX IF NOT EXISTS layers_by_kind ON layers (layer, c_in, c_out)",
)


def prepare(path: Path) -> None:
    """Make the file and its tables where they are missing.

    Raises:
        InputError: the file or its folder cannot be made or written, or it is something else.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make the folder of {path}: {error.strerror}; choose another file") from error
    with connected(path) as connection:
        connection.execute("BEGIN")  # another process may be making the tables: version and tables of one moment
        version = _read_version(connection, path)
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        connection.execute("COMMIT")
        if version == VERSION:
            return
        if tables:
            raise InputError(f"{path} is a database of something else; choose another file")
        connection.execute("PRAGMA auto_vacuum = FULL")  # what is removed makes the file smaller
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("BEGIN IMMEDIATE")
        for table in _TABLES:
            connection.execute(table)
        connection.execute(f"PRAGMA user_version = {VERSION}")


def require_store(path: Path) -> None:
    """Refuse what is no file of measurements, or a damaged one.

    Raises:
        InputError: says what it is.
    """
    if not path.is_file():
        raise InputError(f"there is no file of measurements {path}; name another, or measure first")
    with connected(path, read_only=True) as connection:
        if _read_version(connection, path) != VERSION:
            raise InputError(f"{path} is no file of measurements; name another")
        (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            raise InputError(f"{path} is damaged ({' '.join(found.split())}); take another copy of it")


@contextlib.contextmanager
def connected(path: Path, *, read_only: bool = False) -> Iterator[sqlite3.Connection]:
    """A connection whose changes are kept if the block ends well, and dropped otherwise.

    Raises:
        InputError: SQLite refuses; the message is its own.
    """
    mode = "mode=ro" if read_only else "mode=rwc"
    alone = not path.with_name(f"{path.name}-wal").exists()
    if read_only and alone and not os.access(path.absolute().parent, os.W_OK):
        mode = "immutable=1"  # readers, too, make a file of locks beside the database, which cannot be here
    try:
        address = f"{path.absolute().as_uri()}?{mode}"
        with (
            contextlib.closing(sqlite3.connect(address, uri=True, timeout=BUSY_TIMEOUT_S)) as connection,
            connection,
        ):
            connection.execute("PRAGMA foreign_keys = ON")
            yield connection
    except sqlite3.Error as error:
        raise InputError(f"{path} cannot be used as a file of measurements ({error}); choose another") from error


def _read_version(connection: sqlite3.Connection, path: Path) -> int:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version not in (0, VERSION):
        raise InputError(
            f"{path} was written by another version (tables {version}, expected {VERSION}); choose another file"
        )
    return int(version)


def make_portable(path: Path) -> None:
    """Bring the write-ahead log home, so that the file is all there is.

    Raises:
        InputError: see ``connected``.
    """
    with connected(path) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
