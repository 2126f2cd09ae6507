"""Which element-wise operators keep zeros: is the masked network's result zero where an index was removed?

Removal equals masking only where a sum over removed indices adds nothing. A parameter's removed slice is zero by
definition of the mask; this module follows that zero through element-wise operators.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from deploy_prune.graph.rules.table import Call
from deploy_prune.graph.values import Value

Flags = Sequence["bool | None"]
"""Per operand: True zero, False not known to be zero, None for one that is broadcast over the axes in question."""

AT_ZERO = frozenset(
    """
    abs arctan asin asinh atan atanh celu ceil clone alias contiguous _conj conj_physical deg2rad detach elu erf erfinv
    expm1 floor frac gelu hardshrink hardswish leaky_relu lift_fresh log1p mish nan_to_num neg positive rad2deg real
    imag relu relu6 round selu sgn sign silu sin sinh softshrink special_i1 sqrt square tan tanh trunc _to_copy
    native_dropout dropout feature_dropout prelu _prelu_kernel rrelu_with_noise_functional rrelu_with_noise rrelu
    zero zeros_like
""".split()
)
"""Operators whose result is zero where their first operand is."""

_ANY = frozenset({"mul", "logical_and", "bitwise_and"})
_ALL = frozenset({"maximum", "minimum", "fmax", "fmin", "hypot", "logical_or", "bitwise_or"})
_FIRST = frozenset({"div", "true_divide", "floor_divide", "fmod", "remainder", "xlogy"})


def keeps_zero(call: Call) -> Callable[[Flags], bool]:
    """The operator's rule for zeros: from the operands' flags on one block to the result's."""
    name, args = call.name, call.args
    if name in {"zero", "zeros_like"}:
        return lambda flags: True
    if name in AT_ZERO:
        return lambda flags: bool(flags[0])
    if name in _ANY:
        return any_zero
    if name in _ALL:
        return all_zero
    if name in _FIRST:
        # 0 / 0 is no zero: the divisor may not vanish with the dividend.
        return lambda flags: bool(flags[0]) and not any(flags[1:])
    if name in {"add", "sub", "rsub", "lerp"}:
        number = next((a for a in args[1:2] if not isinstance(a, Value)), 0)
        return all_zero if number == 0 else _never
    if name in {"addcmul", "addcdiv"}:
        return lambda flags: bool(flags[0]) and bool(any(flags[1:] if name == "addcmul" else flags[1:2]))
    if name == "pow":
        return _first if isinstance(args[1], (int, float)) and args[1] > 0 else _never
    if name in {"clamp", "hardtanh", "clamp_min", "clamp_max"}:
        return _first if _contains_zero(call) else _never
    if name in {"masked_fill", "fill", "where", "copy", "threshold"}:
        return _selected(name, args)
    return _never


def any_zero(flags: Flags) -> bool:
    """A product is zero where one factor is."""
    return any(flags)


def all_zero(flags: Flags) -> bool:
    """A sum is zero where every term is; a term broadcast over the axes is not."""
    return all(flags)


def _never(flags: Flags) -> bool:
    return False


def _first(flags: Flags) -> bool:
    return bool(flags[0])


def _contains_zero(call: Call) -> bool:
    """Whether the bounds of a clamp enclose zero: numbers, absent ones, or buffers that hold one number."""
    low, high = (_number(a) for a in (*call.args[1:3], None, None)[:2])
    if call.name == "hardtanh":
        low, high = (-1 if low is None else low), (1 if high is None else high)
    if call.name == "clamp_max":
        low, high = None, low
    return all(b is None or isinstance(b, (int, float)) for b in (low, high)) and (low or 0) <= 0 <= (high or 0)


def _number(argument: Any) -> Any:
    """A tensor without axes whose number is known, as that number."""
    known = isinstance(argument, Value) and argument.ndim == 0 and argument.numbers is not None
    return float(argument.numbers) if known else argument


def _selected(name: str, args: Sequence[Any]) -> Callable[[Flags], bool]:
    """Operators that put one operand or another in each place."""
    if name == "copy":
        return lambda flags: bool(flags[1])
    if name == "where":
        # A number in place of a tensor arrives as a tensor without axes, which has no flag.
        nothing = [_number(a) == 0 for a in args[1:]]
        return lambda flags: all(f or n for f, n in zip(flags[1:], nothing, strict=True))
    if name == "threshold":
        return lambda flags: bool(flags[0]) and args[2] == 0
    value = args[-1]
    zero = _number(value) == 0
    return (lambda flags: zero) if name == "fill" else (lambda flags: zero and bool(flags[0]))
