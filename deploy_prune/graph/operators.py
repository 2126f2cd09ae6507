"""What the schema of an ATen overload says, read once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any


@dataclass(frozen=True)
class Operator:
    """One overload.

    Attributes:
        name: in the table of rules: ``aten.add_.Tensor`` is ``add``; other libraries keep their prefix.
        writes: whether it writes to an argument.
        in_place: whether it writes to its first argument and returns it.
        returns: number of results.
        is_view: whether its result shares memory with an argument.
        arguments: names and default values, in order.
    """

    name: str
    writes: bool
    in_place: bool
    returns: int
    is_view: bool
    arguments: tuple[tuple[str, Any], ...]


@cache
def operator_of(function: Any) -> Operator:
    """The description of an overload such as ``torch.ops.aten.add_.Tensor``."""
    schema = function._schema
    name = function.overloadpacket.__name__
    if not name.startswith("__"):
        name = name.rstrip("_")
    return Operator(
        name=name if function.namespace in {"aten", "prims"} else f"{function.namespace}.{name}",
        writes=schema.is_mutable,
        in_place=schema.is_mutable and len(schema.returns) == 1 and _is_written(schema.arguments[0]),
        returns=len(schema.returns),
        is_view=not schema.is_mutable and any(a.alias_info for a in schema.arguments),
        arguments=tuple((a.name, a.default_value if a.has_default_value() else None) for a in schema.arguments),
    )


def _is_written(argument: Any) -> bool:
    return argument.alias_info is not None and argument.alias_info.is_write
