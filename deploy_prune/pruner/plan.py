"""A plan: which indices of which parameter axes stay, as data that saves to JSON.

A plan needs no dependency graph to be applied: it names parameters, axes, kept indices and new attribute values, and is
refused by a model of another architecture.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from deploy_prune.errors import InputError, PlanError
from deploy_prune.graph.attributes import Attribute
from deploy_prune.graph.boxes import is_full
from deploy_prune.graph.units import Partition, UnitGroup, Units
from deploy_prune.pruner.branches import groups_within, lies_within, outermost
from deploy_prune.pruner.solving import solve_attributes

SCHEMA = 2


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
class Renumbering:
    """A buffer of positions into an axis that loses ``removed``: each entry counts what is left before it."""

    buffer: str
    removed: tuple[int, ...]


@dataclass(frozen=True)
class Plan:
    """What pruning does to a model.

    Attributes:
        widths: kept units per group (groups that stay whole included; 0 where they go with a branch).
        cuts: one entry per parameter axis that loses indices.
        attributes: attribute values after pruning, where they change.
        architecture: :func:`architecture_hash` of the model that the plan was made for.
        branches: modules that become their shortcut; nothing inside them is in ``cuts`` and ``attributes``.
        renumberings: buffers that hold positions into an axis that loses indices.
    """

    widths: Mapping[str, int]
    cuts: tuple[AxisCut, ...]
    attributes: tuple[AttributeChange, ...]
    architecture: str
    branches: tuple[str, ...] = ()
    renumberings: tuple[Renumbering, ...] = ()

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
            branches=tuple(content["branches"]),
            renumberings=tuple(Renumbering(r["buffer"], tuple(r["removed"])) for r in content["renumberings"]),
        )

    @property
    def checksum(self) -> str:
        """sha256 of the plan's content."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


def architecture_hash(model: nn.Module) -> str:
    """sha256 over the names and shapes of all parameters and buffers."""
    shapes: dict[int, tuple[str, tuple[int, ...]]] = {}
    for prefix, module in model.named_modules():
        for name, tensor in (*module._parameters.items(), *module._buffers.items()):
            if tensor is not None:
                shapes.setdefault(id(tensor), (f"{prefix}.{name}" if prefix else name, tuple(tensor.shape)))
    return hashlib.sha256(repr(sorted(shapes.values())).encode()).hexdigest()


def make_plan(
    architecture: str,
    units: Units,
    removed: Mapping[str, Any],
    attributes: Mapping[Attribute, int],
    branches: Collection[str] = (),
) -> Plan:
    """The plan that removes units ``removed[group]`` (integer indices into the group), and branches, from a model.

    Args:
        architecture: :func:`architecture_hash` of the model that ``units`` describes.
        units: its dependency structure.
        removed: group name -> indices of the units to remove; groups not named stay whole.
        attributes: values of all traced attributes before pruning.
        branches: names of :func:`~deploy_prune.pruner.branches.find_branches`; what is removed inside them goes anyway.

    Raises:
        PlanError: an unknown group, an index outside it, a group left without units, or a size in the code that no
            attribute value can satisfy.
    """
    alive = np.ones(units.facts.count, bool)
    branches = outermost(branches)
    inside = {name for branch in branches for name in groups_within(units, branch)}
    widths = {g.name: 0 if g.name in inside else g.width for g in units.groups}
    groups = {g.name: g for g in units.groups}
    dead: dict[Partition, list[np.ndarray]] = defaultdict(list)
    for name, indices in removed.items():
        if name not in widths:
            raise PlanError(f"unknown group {name!r}; the model's groups are {', '.join(list(widths)[:8])}, …")
        if name in inside:
            continue
        group = groups[name]
        gone = _checked(group, np.asarray(indices, dtype=np.int64))
        dead[group.partition].append(np.take_along_axis(group.labels, gone, axis=1).ravel())
        widths[name] -= gone.shape[1]
    for partition, components in dead.items():
        labels = units.labels(partition)
        alive[np.bincount(np.concatenate(components), minlength=int(labels.max()) + 1)[labels] > 0] = False
    _check_complete(units, alive)
    cuts = []
    for (parameter, axis), atoms in units.axes.items():
        kept = alive[atoms].nonzero()[0]
        if len(kept) < len(atoms) and not lies_within(parameter, branches):
            cuts.append(AxisCut(parameter, axis, len(atoms), tuple(kept.tolist())))
    changes = [
        AttributeChange(attribute.module, attribute.path, value)
        for attribute, value in solve_attributes(units.facts, alive, attributes).items()
        if not lies_within(attribute.module, branches)
    ]
    renumbered = [r for r in _renumberings(units, alive) if not lies_within(r.buffer, branches)]
    return Plan(widths, tuple(cuts), tuple(changes), architecture, branches, tuple(renumbered))


def _renumberings(units: Units, alive: np.ndarray) -> list[Renumbering]:
    """Buffers of positions into axes that lose indices."""
    owner = {int(atoms[0]): name for (name, _), atoms in units.axes.items()}
    gone = {
        owner[int(p.index[0])]: tuple(np.flatnonzero(~alive[p.source]).tolist())
        for p in units.facts.positions
        if int(p.index[0]) in owner
    }
    return [Renumbering(name, removed) for name, removed in gone.items() if removed]


def _checked(group: UnitGroup, indices: np.ndarray) -> np.ndarray:
    """Indices to remove as (rows, k), the same in every row if one vector is given."""
    if indices.ndim == 1:
        indices = np.unique(indices)
        indices = np.broadcast_to(indices, (group.rows, len(indices)))
    if indices.ndim != 2 or len(indices) != group.rows:
        raise PlanError(
            f"group {group.name} has {group.rows} rows, got indices of shape {indices.shape}; give one vector, or one "
            "row of indices for each"
        )
    if indices.size and (indices.min() < 0 or indices.max() >= group.width):
        raise PlanError(f"group {group.name} has units 0 to {group.width - 1}, got {indices.min()} to {indices.max()}")
    ordered = np.sort(indices, axis=1)
    if (ordered[:, 1:] == ordered[:, :-1]).any():
        raise PlanError(f"a row of group {group.name} names an index twice; every row must lose equally many")
    if indices.shape[1] == group.width:
        raise PlanError(f"all {group.width} units of group {group.name} would go; keep at least one")
    return indices


def _check_complete(units: Units, alive: np.ndarray) -> None:
    """What removals of several kinds leave together must again be full boxes, with something behind every index."""
    for box in units.resolved.boxes:
        if not is_full(alive[box.atoms]):
            raise PlanError(f"the removals leave rows of different lengths in {box.place}; remove fewer kinds at once")
    for projection in units.facts.projections:
        if (alive[projection.atoms] != alive[projection.rows].any(axis=1)).any():
            raise PlanError(f"the removals leave nothing behind an index in {projection.place}; keep one unit more")
