"""A plan: which indices of which parameter axes stay, as data that saves to JSON.

A plan needs no dependency graph to be applied: it names parameters, axes, kept indices and new attribute values, and is
refused by a model of another architecture.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from deploy_prune.errors import InputError, PlanError
from deploy_prune.graph.attributes import Attribute, AxisSize, attributes_in, evaluate, solve_for
from deploy_prune.graph.units import Units
from deploy_prune.graph.values import Atoms

SCHEMA = 1


@dataclass(frozen=True)
class AxisCut:
    """Kept indices, ascending, of one axis of one parameter or buffer; ``size`` is the axis' size before."""

    parameter: str
    axis: int
    size: int
    kept: tuple[int, ...]


@dataclass(frozen=True)
class AttributeChange:
    """New value of an integer attribute: ``path`` below the module, such as ``["c"]`` or ``["shape", 1]``."""

    module: str
    path: tuple[str | int, ...]
    value: int


@dataclass(frozen=True)
class Plan:
    """What pruning does to a model.

    Attributes:
        widths: kept units per group (groups that stay whole included).
        cuts: one entry per parameter axis that loses indices.
        attributes: attribute values after pruning, where they change.
        architecture: :func:`architecture_hash` of the model that the plan was made for.
    """

    widths: Mapping[str, int]
    cuts: tuple[AxisCut, ...]
    attributes: tuple[AttributeChange, ...]
    architecture: str

    def save(self, path: Path | str) -> Path:
        """Write ``plan.json``, whole or not at all."""
        path = Path(path)
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        temporary.write_text(json.dumps({"schema": SCHEMA, **asdict(self)}))
        temporary.replace(path)
        return path

    @classmethod
    def load(cls, path: Path | str) -> Plan:
        """Read a plan.

        Raises:
            InputError: the file is missing or holds no plan of this schema.
        """
        try:
            content = json.loads(Path(path).read_text())
        except (OSError, ValueError) as error:
            raise InputError(f"cannot read the plan {path}: {error}; give a plan.json written by Plan.save") from error
        if not isinstance(content, dict) or content.get("schema") != SCHEMA:
            raise InputError(f"{path} is no plan of schema {SCHEMA}; give a plan.json written by this version")
        return cls(
            widths=content["widths"],
            cuts=tuple(AxisCut(c["parameter"], c["axis"], c["size"], tuple(c["kept"])) for c in content["cuts"]),
            attributes=tuple(AttributeChange(a["module"], tuple(a["path"]), a["value"]) for a in content["attributes"]),
            architecture=content["architecture"],
        )

    @property
    def checksum(self) -> str:
        """sha256 of the plan's content."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


def architecture_hash(model: nn.Module) -> str:
    """sha256 over the names and shapes of all parameters and buffers."""
    tensors = {n: tuple(t.shape) for n, t in (*model.named_parameters(), *model.named_buffers())}
    return hashlib.sha256(repr(sorted(tensors.items())).encode()).hexdigest()


def make_plan(model: nn.Module, units: Units, removed: Mapping[str, Any], attributes: Mapping[Attribute, int]) -> Plan:
    """The plan that removes units ``removed[group]`` (integer indices into the group) from a model.

    Args:
        model: the model that ``units`` describes.
        units: its dependency structure.
        removed: group name -> indices of the units to remove; groups not named stay whole.
        attributes: values of all traced attributes before pruning.

    Raises:
        PlanError: an unknown group, an index outside it, a group left without units, or a size in the code that no
            attribute value can satisfy.
    """
    resolved = units.resolved
    alive = np.ones(int(resolved.labels.max()) + 1 if len(resolved.labels) else 0, bool)
    widths = {g.name: g.width for g in units.groups}
    for name, indices in removed.items():
        if name not in widths:
            raise PlanError(f"unknown group {name!r}; the model's groups are {', '.join(list(widths)[:8])}, …")
        gone = np.unique(np.asarray(indices, dtype=np.int64))
        if gone.size and (gone[0] < 0 or gone[-1] >= widths[name]):
            raise PlanError(f"group {name} has units 0 to {widths[name] - 1}, got {gone[0]} to {gone[-1]}")
        if gone.size == widths[name]:
            raise PlanError(f"all {widths[name]} units of group {name} would go; keep at least one")
        alive[units.group(name).labels[gone]] = False
        widths[name] -= gone.size
    cuts = []
    for (parameter, axis), labels in units.axes.items():
        kept = np.flatnonzero(alive[labels])
        if len(kept) < len(labels):
            cuts.append(AxisCut(parameter, axis, len(labels), tuple(kept.tolist())))
    changes = _solve_attributes(units, alive, attributes)
    return Plan(widths, tuple(cuts), changes, architecture_hash(model))


def _solve_attributes(
    units: Units, alive: np.ndarray, attributes: Mapping[Attribute, int]
) -> tuple[AttributeChange, ...]:
    """Attribute values that make every size equation true on the pruned model."""
    labels = units.resolved.labels

    def size(atoms: Atoms, axis: int) -> int:
        rows = np.moveaxis(alive[labels[atoms]], axis, 0).reshape(atoms.shape[axis], -1)
        return int(rows.any(axis=1).sum())

    def axis_size(axis: AxisSize) -> int:
        return size(axis.atoms, axis.axis)

    values = dict(attributes)
    solved: set[Attribute] = set()
    for equation in sorted(units.resolved.equations, key=lambda e: len(attributes_in(e.expression))):
        target = size(equation.atoms, equation.axis)
        if evaluate(equation.expression, values, axis_size) == target:
            solved |= attributes_in(equation.expression)
            continue
        unknown = attributes_in(equation.expression) - solved
        value = (
            solve_for(equation.expression, next(iter(unknown)), target, values, axis_size)
            if len(unknown) == 1
            else None
        )
        if value is None:
            raise PlanError(f"no attribute value gives the size {target} that the code expects in {equation.place}")
        values[next(iter(unknown))] = value
        solved |= unknown
    changed = sorted((a for a in solved if values[a] != attributes[a]), key=str)
    return tuple(AttributeChange(a.module, a.path, values[a]) for a in changed)
