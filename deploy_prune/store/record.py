"""What the file of measurements holds, as values."""

from __future__ import annotations

import array
import dataclasses
import sys
import zlib
from collections.abc import Mapping
from typing import Any

from deploy_prune.errors import InputError


@dataclasses.dataclass(frozen=True)
class RecordKey:
    """What a measurement is of.

    Attributes:
        kind: ``variant``, ``comparison``, ``sizes``, ``timing``, ``step`` or ``roofs``.
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


@dataclasses.dataclass(frozen=True)
class LayerRow:
    """One layer of a variant, with its time.

    Attributes:
        layer: the kind of layer, widths left open, as canonical JSON.
        c_in: channels read.
        c_out: channels written.
        name: of the node in its model.
        time_s: typical seconds.
        samples_ns: raw nanoseconds of each run.
    """

    layer: str
    c_in: int
    c_out: int
    name: str
    time_s: float
    samples_ns: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Measurement:
    """A measurement as the file keeps it; ``measured_at`` is ISO 8601 in UTC, ``source`` names the model."""

    key: RecordKey
    content: Mapping[str, Any]
    source: str
    measured_at: str
    layers: tuple[LayerRow, ...] = ()


@dataclasses.dataclass(frozen=True)
class StoredLayer:
    """A layer row with where it comes from: the variant's subject, the model's name and the time of measuring."""

    row: LayerRow
    subject: str
    source: str
    measured_at: str


@dataclasses.dataclass(frozen=True)
class Selection:
    """Some of the measurements; what is None selects nothing away.

    Attributes:
        machine: the device's fingerprint, or its beginning.
        engine: the engine with or without its version: ``onnxruntime``, ``onnxruntime 1.2``.
        model: part of the model's name.
        conditions: part of the conditions, such as ``"threads": 1``.
        before: measured before this moment, ISO 8601 in UTC.
    """

    machine: str | None = None
    engine: str | None = None
    model: str | None = None
    conditions: str | None = None
    before: str | None = None

    @property
    def is_everything(self) -> bool:
        """Whether nothing is selected away."""
        return all(value is None for value in dataclasses.astuple(self))

    def where(self) -> tuple[str, list[str]]:
        """An SQL condition on ``measurements``, with its parameters."""
        clauses = {
            "machine": "substr(machine, 1, length(?1)) = ?1",
            "engine": "substr(engine, 1, length(?1)) = ?1",
            "model": "instr(lower(source), lower(?1)) > 0",
            "conditions": "instr(conditions, ?1) > 0",
            "before": "measured_at < ?1",
        }
        given = {name: value for name, value in dataclasses.asdict(self).items() if value is not None}
        parts = [clauses[name].replace("?1", f"?{n}") for n, name in enumerate(given, start=1)]
        return " AND ".join(parts) or "1", list(given.values())


ALL = Selection()


def pack_samples(samples_ns: tuple[int, ...]) -> bytes:
    """Nanoseconds as compressed little-endian 64-bit integers; whole microseconds take two bytes or less each."""
    values = array.array("q", samples_ns)
    if sys.byteorder == "big":
        values.byteswap()
    return zlib.compress(values.tobytes())


def unpack_samples(packed: bytes) -> tuple[int, ...]:
    """The inverse of ``pack_samples``.

    Raises:
        InputError: the bytes are damaged.
    """
    values = array.array("q")
    try:
        values.frombytes(zlib.decompress(packed))
    except (zlib.error, ValueError) as error:
        raise InputError(f"the raw samples of a layer are damaged ({error})") from error
    if sys.byteorder == "big":
        values.byteswap()
    return tuple(values)
