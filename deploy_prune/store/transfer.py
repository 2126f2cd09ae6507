"""Measurements in one portable file: written from a store, and taken into another.

A ``.jsonl`` file has a line that says what it is and how many measurements follow, then one per line; a ``.sqlite``
file is a store of its own, in one file. Both appear whole or not at all.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pydantic

from deploy_prune.errors import InputError
from deploy_prune.store.file import MeasurementStore
from deploy_prune.store.record import ALL, Measurement, Selection
from deploy_prune.store.schema import VERSION, make_portable

FORMAT = "deploy_prune measurements"
SUFFIXES = (".jsonl", ".sqlite")
_LINE = pydantic.TypeAdapter(Measurement)


def export(store: MeasurementStore, path: Path, selection: Selection = ALL) -> int:
    """Write the selected measurements into a new file, in place of an older one; how many they are.

    Raises:
        InputError: the suffix is none of ``SUFFIXES``, nothing is selected, or the file cannot be written.
    """
    if path.suffix not in SUFFIXES:
        raise InputError(f"{path} has no format; give it the suffix {' or '.join(SUFFIXES)}")
    if path.absolute() == store.path.absolute():
        raise InputError(f"{path} is the file of measurements itself; name another file")
    if path.with_name(f"{path.name}-wal").exists():
        raise InputError(f"{path} is a file of measurements in use; name another file")
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        count = _write(temporary, store, selection)
        if not count:
            raise InputError(f"{store.path} has no such measurements; see them with: deploy-prune tables show")
        temporary.replace(path)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}; choose another file") from error
    finally:
        temporary.unlink(missing_ok=True)
    return count


def merge(store: MeasurementStore, paths: Sequence[Path]) -> tuple[int, int]:
    """Take in all measurements of other stores and exports; of two with one key the newer stays.

    Returns:
        How many were taken, and how many were known as new already.

    Raises:
        InputError: one of the files is damaged or something else; nothing has changed then.
    """
    return store.merge(itertools.chain.from_iterable(map(read, paths)))


def read(path: Path) -> Iterator[Measurement]:
    """The measurements of a store or an export.

    Raises:
        InputError: the file is damaged or something else.
    """
    if path.is_file() and path.suffix == ".jsonl":
        yield from _read_lines(path)
    else:
        yield from MeasurementStore(path, existing=True).measurements()


def _write(path: Path, store: MeasurementStore, selection: Selection) -> int:
    if path.suffix == ".sqlite":
        count, _ = MeasurementStore(path).merge(store.measurements(selection))
        make_portable(path)
        return count
    measurements = list(store.measurements(selection))
    with path.open("w", encoding="utf-8") as file:
        header = {"format": FORMAT, "version": VERSION, "measurements": len(measurements)}
        for line in (header, *map(dataclasses.asdict, measurements)):
            file.write(json.dumps(line, separators=(",", ":")) + "\n")
    return len(measurements)


def _read_lines(path: Path) -> Iterator[Measurement]:
    """An export of lines; damage is found at the latest when all have been read."""
    try:
        with path.open(encoding="utf-8") as file:
            expected = _read_header(path, file.readline())
            count = 0
            for count, line in enumerate(file, start=1):
                yield _read_measurement(path, count + 1, line)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read ({error}); take another copy of it") from error
    if count != expected:
        raise InputError(f"{path} is damaged: it has {count} of {expected} measurements; take another copy of it")


def _read_header(path: Path, line: str) -> int:
    header = _parse(line)
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise InputError(f"{path} is no export of measurements; name one that deploy-prune tables export wrote")
    if header.get("version") != VERSION:
        raise InputError(
            f"{path} was written by another version (tables {header.get('version')}, expected {VERSION}); "
            "export it again with this one"
        )
    return int(header.get("measurements", -1))


def _read_measurement(path: Path, number: int, line: str) -> Measurement:
    try:
        return _LINE.validate_json(line)
    except pydantic.ValidationError as error:
        mistake = error.errors(include_url=False)[0]
        place = ".".join(map(str, mistake["loc"]))
        where = f"line {number}, {place}" if place else f"line {number}"
        raise InputError(f"{path} is damaged ({where}: {mistake['msg']}); take another copy of it") from error


def _parse(line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None
