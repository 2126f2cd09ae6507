"""The files by which stages hand over to later ones, each named below the run's folder."""

import dataclasses
import json
from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

import pydantic

from deploy_prune.pipeline.device import write_json

DIGITS = Path("data/digits")  # the embedded images
DENSE_MODEL = Path("train/dense.pt")
DENSE_ONNX = Path("baseline/dense.onnx")
DENSE_TIMING = Path("baseline/timing.json")
VARIANTS = Path("profile/variants.json")  # the widths that were profiled
OTHERS = Path("profile/others.json")  # seconds of the dense model under further profiles
SPARSE_MODEL = Path("sparse/dense.pt")
START_MODEL = Path("prepare/start.pt")  # of the dense shape, with zeros where it has lost units
START_WIDTHS = Path("prepare/widths.json")  # of the groups that have
PLAN = Path("search/plan.json")
ROUNDS = Path("search/rounds.json")
SIZES = Path("search/sizes.json")
FROZEN = Path("search/frozen.json")
WIDTHS = Path("search/widths.json")
ACCOUNT = Path("search/account.json")  # the floor, and what the latency model left unexplained
PRUNED_MODEL = Path("prune/pruned.pt")
RECOVERED_MODEL = Path("recover/pruned.pt")
RECOVERY = Path("recover/steps.json")
FINETUNED_MODEL = Path("finetune/pruned.pt")
PARITY = Path("export/parity.json")
COMPARISON = Path("benchmark/comparison.json")
OTHER_COMPARISONS = Path("benchmark/others.json")
LAYERS = Path("benchmark/layers.json")
EXPLANATION = Path("benchmark/explanation.json")
COUNTS = Path("benchmark/counts.json")
EXPORTS = Path("formats/exports.json")
ALTERNATIVES = Path("alternatives/alternatives.json")
REPORT = Path("report/report.json")
METRICS = "metrics.json"  # below each stage that judges a model

Record = TypeVar("Record")
Value = TypeVar("Value")


def write_records(path: Path, records: Iterable[object]) -> None:
    """Write dataclasses of one kind as a JSON list."""
    write_json(path, [dataclasses.asdict(record) for record in records])  # type: ignore[call-overload]


def write_value(path: Path, value: Value) -> None:
    """Write a dataclass, which may hold others."""
    write_json(path, dataclasses.asdict(value))  # type: ignore[call-overload]


def read_value(path: Path, kind: type[Value]) -> Value:
    """Read what ``write_value`` wrote."""
    return pydantic.TypeAdapter(kind).validate_json(path.read_bytes())


def read_records(path: Path, kind: type[Record]) -> tuple[Record, ...]:
    """Read what ``write_records`` wrote, as dataclasses of this kind."""
    return tuple(kind(**record) for record in json.loads(path.read_text(encoding="utf-8")))
