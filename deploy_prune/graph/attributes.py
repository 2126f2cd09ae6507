"""Static attributes: integers in Python attributes that must change with the weights, found by following them.

While tracing, integer attributes of modules are :class:`TracedInt`, an ``int`` that remembers where it came from and
builds expressions under ``+ - * //``. The tracer sees it in the arguments of ``view``, ``split``, slicing … before C++
turns it into a number, and records which axis has that size. After pruning every such equation is solved for its
attribute or checked.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Attribute:
    """Attribute ``path`` of a module: ``("model.2", ("c",))`` or, inside a tuple or list, ``("m", ("shape", 1))``."""

    module: str
    path: tuple[str | int, ...]

    def __str__(self) -> str:
        """Dotted name, such as ``model.2.c`` or ``m.shape[1]``."""
        name = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in self.path)
        return f"{self.module}{name}" if self.module else name[1:]


@dataclass(frozen=True, eq=False)
class AxisSize:
    """The size of one axis of a tensor, read from ``x.shape``: ``axis`` of a block with these atoms."""

    atoms: np.ndarray
    axis: int

    def __eq__(self, other: object) -> bool:
        same = isinstance(other, AxisSize) and self.axis == other.axis
        return same and np.array_equal(self.atoms, other.atoms)  # type: ignore[attr-defined]

    def __hash__(self) -> int:
        return hash((self.axis, self.atoms.shape, self.atoms.tobytes()))


@dataclass(frozen=True)
class Operation:
    """An integer operation on two expressions."""

    symbol: str
    left: Expression
    right: Expression


Expression = int | Attribute | AxisSize | Operation

_OPERATIONS: dict[str, Callable[[int, int], int]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "//": operator.floordiv,
}


def evaluate(expression: Expression, attributes: Mapping[Attribute, int], axis_size: Callable[[AxisSize], int]) -> int:
    """The integer that ``expression`` has for these attribute values and axis sizes."""
    if isinstance(expression, int):
        return expression
    if isinstance(expression, Attribute):
        return attributes[expression]
    if isinstance(expression, AxisSize):
        return axis_size(expression)
    left = evaluate(expression.left, attributes, axis_size)
    right = evaluate(expression.right, attributes, axis_size)
    return _OPERATIONS[expression.symbol](left, right)


def attributes_in(expression: Expression) -> set[Attribute]:
    """All attributes that occur in ``expression``."""
    if isinstance(expression, Attribute):
        return {expression}
    if isinstance(expression, Operation):
        return attributes_in(expression.left) | attributes_in(expression.right)
    return set()


def divisors_in(expression: Expression) -> set[Attribute]:
    """All attributes by which ``expression`` divides."""
    if not isinstance(expression, Operation):
        return set()
    found = divisors_in(expression.left) | divisors_in(expression.right)
    return found | attributes_in(expression.right) if expression.symbol == "//" else found


def numbers_of_parts(expressions: Iterable[Expression], known: Set[Attribute]) -> set[Attribute]:
    """Attributes that are taken to stay, of expressions with several unknown ones: ``channels // parts`` keeps parts.

    One that stands alone in another expression is determined there.
    """
    unknown = [(e, attributes_in(e) - known) for e in expressions]
    divisors = {a for e, names in unknown if len(names) > 1 for a in divisors_in(e) & names}
    return divisors - {a for _, names in unknown if len(names) == 1 for a in names}


def solve_for(
    expression: Expression,
    unknown: Attribute,
    size: int,
    attributes: Mapping[Attribute, int],
    axis_size: Callable[[AxisSize], int],
) -> int | None:
    """The value of ``unknown`` that makes ``expression`` equal ``size``, or None where no integer does.

    ``unknown`` must occur once; the expression is undone from the outside in.
    """
    while isinstance(expression, Operation):
        in_left = unknown in attributes_in(expression.left)
        other = evaluate(expression.right if in_left else expression.left, attributes, axis_size)
        undone = _undo(expression.symbol, size, other, in_left)
        if undone is None:
            return None
        size, expression = undone, expression.left if in_left else expression.right
    return size


def _undo(symbol: str, size: int, other: int, unknown_left: bool) -> int | None:
    """x with ``x symbol other == size`` (or ``other symbol x``)."""
    if symbol == "+":
        return size - other
    if symbol == "-":
        return size + other if unknown_left else other - size
    if symbol == "*":
        return size // other if other and size % other == 0 else None
    if unknown_left:
        return size * other
    return other // size if size and other % size == 0 else None


class TracedInt(int):
    """An int that remembers the expression it came from; a plain int to everything else.

    One that outlives its trace, in a cache of the user's code say, says nothing any more: it is a plain int.
    """

    expression: Expression
    trace: list[Comparison] | None

    def __new__(cls, value: int, expression: Expression) -> TracedInt:
        """``value`` with its origin."""
        traced = super().__new__(cls, value)
        traced.expression = expression
        traced.trace = _heard
        return traced

    def __eq__(self, other: object) -> bool:
        equal = int.__eq__(self, other)
        if (
            equal is True
            and _heard is not None
            and isinstance(other, TracedInt)
            and self.trace is other.trace is _heard
        ):
            _heard.append((self.expression, other.expression))
        return equal

    def __ne__(self, other: object) -> bool:
        equal = self.__eq__(other)
        return equal if equal is NotImplemented else not equal

    __hash__ = int.__hash__

    def __reduce__(self) -> tuple[Any, ...]:
        """Copies and pickles are plain ints, so that no trace outlives the tracer."""
        return int, (int(self),)

    def __deepcopy__(self, memo: dict[int, Any]) -> int:
        return int(self)

    def __copy__(self) -> int:
        return int(self)


Comparison = tuple[Expression, Expression]
"""Two sizes that the user's code found equal."""

_heard: list[Comparison] | None = None


@contextmanager
def hear_comparisons(found: list[Comparison]) -> Iterator[None]:
    """Within, pairs of traced sizes that are compared and equal are added to ``found``.

    ``assert x.shape[1] == self.channels`` is often the only place that reads an attribute.
    """
    global _heard
    before, _heard = _heard, found
    try:
        yield
    finally:
        _heard = before


def expression_of(value: Any) -> Expression | None:
    """The expression behind an integer; a plain integer is itself a literal; anything else is None."""
    if isinstance(value, TracedInt):
        return value.expression if value.trace is _heard else int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _traced(symbol: str, reflected: bool) -> Callable[[TracedInt, Any], Any]:
    compute = _OPERATIONS[symbol]

    def method(self: TracedInt, other: Any) -> Any:
        if not isinstance(other, int) or isinstance(other, bool):
            return NotImplemented
        left, right = (other, self) if reflected else (self, other)
        result = compute(int(left), int(right))
        if self.trace is not _heard:
            return result
        left_expression, right_expression = expression_of(left), expression_of(right)
        assert left_expression is not None and right_expression is not None
        return TracedInt(result, Operation(symbol, left_expression, right_expression))

    return method


for _name, _symbol in {"add": "+", "sub": "-", "mul": "*", "floordiv": "//"}.items():
    setattr(TracedInt, f"__{_name}__", _traced(_symbol, reflected=False))
    setattr(TracedInt, f"__r{_name}__", _traced(_symbol, reflected=True))
