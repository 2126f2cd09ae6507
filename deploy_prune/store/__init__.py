"""The SQLite file of measurements: what was measured, on what, under which conditions, with its raw samples."""

from deploy_prune.store.file import STORE_VARIABLE, MeasurementStore, default_path
from deploy_prune.store.record import LayerRow, Measurement, RecordKey, Selection, StoredLayer

__all__ = [
    "STORE_VARIABLE",
    "LayerRow",
    "Measurement",
    "MeasurementStore",
    "RecordKey",
    "Selection",
    "StoredLayer",
    "default_path",
]
