"""The file of measurements in words: devices, engines, conditions, models, and the staircases of layers."""

from __future__ import annotations

import hashlib
import json

from deploy_prune.hardware.machine import detect_machine
from deploy_prune.latency.layer_key import LayerKind
from deploy_prune.report.tables import SourceEntry, WidthEntry
from deploy_prune.store import MeasurementStore, Selection
from deploy_prune.store.overview import count_sources, list_widths

_TOLD = ("threads", "precision", "batch", "device", "mode")
_DAY = len("2026-01-31")


def describe_sources(store: MeasurementStore, selection: Selection) -> list[SourceEntry]:
    """What was measured of which model, where, under what and when."""
    return [
        SourceEntry(
            device=describe_device(found.machine),
            engine=found.engine,
            conditions=describe_conditions(found.conditions),
            model=found.source,
            measurements=", ".join(f"{count} {kind}{'s' * (count > 1)}" for kind, count in found.kinds),
            layers=found.layers,
            first=found.first[:_DAY],
            last=found.last[:_DAY],
        )
        for found in count_sources(store, selection)
    ]


def describe_widths(store: MeasurementStore, selection: Selection, layer: str | None = None) -> list[WidthEntry]:
    """The staircases of all kinds of layers whose description has ``layer`` in it, whatever the case."""
    entries = []
    for found in list_widths(store, selection):
        described = LayerKind.from_json(found.layer).describe()
        if layer is None or layer.lower() in described.lower():
            entries.append(
                WidthEntry(
                    device=describe_device(found.machine),
                    engine=found.engine,
                    conditions=describe_conditions(found.conditions),
                    layer=described,
                    c_in=found.c_in,
                    c_out=found.c_out,
                    median_ms=1e3 * found.median_s,
                    count=found.count,
                    models=len(found.sources),
                )
            )
    return entries


def describe_device(fingerprint: str) -> str:
    """The fingerprint, and whether it is that of this machine."""
    return f"{fingerprint} (here)" if fingerprint == detect_machine().fingerprint else fingerprint


def describe_conditions(conditions: str) -> str:
    """``threads 1, fp32, batch 1 (3f9a)``: the digits tell conditions apart that differ in something else."""
    try:
        known = json.loads(conditions)
    except ValueError:
        known = {}
    named = {name: known[name] for name in _TOLD if known.get(name) is not None} if isinstance(known, dict) else {}
    words = [str(value) if isinstance(value, str) else f"{name} {value}" for name, value in named.items()]
    return f"{', '.join(words)} ({hashlib.sha256(conditions.encode()).hexdigest()[:4]})"
