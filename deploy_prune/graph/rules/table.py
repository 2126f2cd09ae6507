"""The table of operator rules: which function says what an ATen operator does to abstract values.

A rule takes a :class:`Call` (arguments with every tensor replaced by its :class:`~deploy_prune.graph.values.Value`, and
the shapes of the outputs) and returns one value per tensor output. It records in ``call.facts`` what must live and die
together and never reads it. ``aten.add``, ``aten.add.Tensor`` and ``aten.add_`` share the entry ``add``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import wraps
from typing import Any

from deploy_prune.graph.facts import Facts
from deploy_prune.graph.rules.crossing import crosses, disjoint
from deploy_prune.graph.values import Value


@dataclass(frozen=True)
class Call:
    """One operator call as a rule sees it.

    Attributes:
        facts: where the rule records.
        name: operator without overload and trailing underscore, such as ``convolution``.
        args: positional arguments in the operator's schema order, defaults filled in, tensors as values.
        outputs: shape of every tensor output, in order.
    """

    facts: Facts
    name: str
    args: tuple[Any, ...]
    outputs: tuple[tuple[int, ...], ...]
    kwargs: dict[str, Any] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the first output."""
        return self.outputs[0]

    def values(self) -> list[Value]:
        """All tensors among the arguments, also inside lists, in order."""
        found: list[Value] = []
        for arg in (*self.args, *self.kwargs.values()):
            if isinstance(arg, Value):
                found.append(arg)
            elif isinstance(arg, (list, tuple)):
                found += [v for v in arg if isinstance(v, Value)]
        return found


Rule = Callable[[Call], "Sequence[Value]"]
RULES: dict[str, Rule] = {}


def rule(*names: str, crossing: bool = False) -> Callable[[Rule], Rule]:
    """Register a function for these operators; a second registration of a name is an error.

    One that is right for blocks that share axes says so by ``crossing``; for the others they are merged beforehand.
    """

    def register(function: Rule) -> Rule:
        handled = function if crossing else _on_disjoint_blocks(function)
        for name in names:
            if name in RULES:
                raise ValueError(f"operator {name} has two rules: {RULES[name].__name__} and {function.__name__}")
            RULES[name] = handled
        return function

    return register


def _on_disjoint_blocks(function: Rule) -> Rule:
    @wraps(function)
    def handled(call: Call) -> Sequence[Value]:
        if any(map(crosses, call.values())):
            named = {name: _disjoint(call.facts, value) for name, value in call.kwargs.items()}
            call = replace(call, args=_disjoint(call.facts, call.args), kwargs=named)
        return function(call)

    return handled


def _disjoint(facts: Facts, argument: Any) -> Any:
    if isinstance(argument, Value):
        return disjoint(facts, argument)
    return type(argument)(_disjoint(facts, a) for a in argument) if isinstance(argument, (list, tuple)) else argument


def untracked(call: Call) -> list[Value]:
    """Outputs that depend on no parameter axis."""
    return [Value(shape) for shape in call.outputs]


def split_segments(old: Sequence[int], new: Sequence[int]) -> list[tuple[list[int], list[int]]]:
    """Match the axes of two shapes of equal size into minimal segments of equal product.

    Axes of size 1 join no segment. ``([2, 12, 5], [2, 3, 4, 5])`` gives ``[([0],[0]), ([1],[1,2]), ([2],[3])]``.
    """
    a = [k for k, s in enumerate(old) if s != 1]
    b = [k for k, s in enumerate(new) if s != 1]
    segments = []
    i = j = 0
    while i < len(a) and j < len(b):
        first_i, first_j = i, j
        left, right = old[a[i]], new[b[j]]
        i, j = i + 1, j + 1
        while left != right:
            if left < right:
                left *= old[a[i]]
                i += 1
            else:
                right *= new[b[j]]
                j += 1
        segments.append((a[first_i:i], b[first_j:j]))
    if i != len(a) or j != len(b):
        raise AssertionError(f"shapes {tuple(old)} and {tuple(new)} differ in size {math.prod(old)}, {math.prod(new)}")
    return segments
