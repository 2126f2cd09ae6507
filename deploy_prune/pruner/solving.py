"""Attribute values that make every size in the code true on the pruned model."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from deploy_prune.errors import PlanError
from deploy_prune.graph.attributes import (
    Attribute,
    AxisSize,
    Operation,
    attributes_in,
    evaluate,
    numbers_of_parts,
    solve_for,
)
from deploy_prune.graph.boxes import size_left
from deploy_prune.graph.facts import Facts
from deploy_prune.graph.values import Atoms


def solve_attributes(facts: Facts, alive: np.ndarray, attributes: Mapping[Attribute, int]) -> dict[Attribute, int]:
    """The attributes whose values change, with their new ones.

    Args:
        facts: what the runs said.
        alive: per atom whether it stays, bool (atoms,).
        attributes: values before pruning.

    Raises:
        PlanError: a size in the code that no attribute value can satisfy.
    """

    def size(atoms: Atoms, axis: int) -> int:
        return size_left(alive, atoms, axis)

    def axis_size(axis: AxisSize) -> int:
        return size(axis.atoms, axis.axis)

    values = dict(attributes)
    solved: set[Attribute] = set()
    equations = sorted(facts.equations, key=lambda e: isinstance(e.expression, Operation))
    while True:
        solvable = [e for e in equations if len(attributes_in(e.expression) - solved) == 1]
        if not solvable:
            staying = numbers_of_parts((e.expression for e in equations), solved)
            if not staying:
                break
            solved |= staying
        for equation in solvable:
            target = size(equation.atoms, equation.axis)
            for unknown in attributes_in(equation.expression) - solved:
                if evaluate(equation.expression, values, axis_size) != target:
                    value = solve_for(equation.expression, unknown, target, values, axis_size)
                    values[unknown] = -1 if value is None else value
                solved.add(unknown)
    for equation in equations:
        target = size(equation.atoms, equation.axis)
        if evaluate(equation.expression, values, axis_size) != target:
            raise PlanError(f"no attribute value gives the size {target} that the code expects in {equation.place}")
    _follow(facts, values, solved, axis_size)
    return {a: values[a] for a in sorted(solved, key=str) if values[a] != attributes[a]}


def _follow(
    facts: Facts, values: dict[Attribute, int], solved: set[Attribute], axis_size: Callable[[AxisSize], int]
) -> None:
    """Attributes that the code only compares with a size take the value that keeps the comparison true."""
    for one, other in facts.comparisons:
        for side, equal in ((one, other), (other, one)):
            unknown = attributes_in(side) - solved
            if len(unknown) != 1:
                continue
            attribute = next(iter(unknown))
            value = solve_for(side, attribute, evaluate(equal, values, axis_size), values, axis_size)
            if value is not None and evaluate(side, values, axis_size) != evaluate(equal, values, axis_size):
                values[attribute] = value
            solved.add(attribute)
