"""Runs without arithmetic: what takes most of a forward's time is not computed while nobody asks for the numbers.

Convolutions, matrix products and common elementwise operators on tracked values return zeros of the right shape. These
are *made up*, and so is all that is computed from them. Where a model looks at a made-up number (``.item()``, a boolean
mask, a compiled operator of another library such as NMS), the run is void and has to be repeated with arithmetic.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from deploy_prune.graph.operators import Operator, operator_of

_READING = frozenset("numpy tolist __array__ __dlpack__ data_ptr untyped_storage".split())
_ELEMENTWISE = frozenset(
    """
    relu silu gelu sigmoid hardswish hardsigmoid hardtanh tanh leaky_relu elu mish softplus clamp add sub mul div
    native_layer_norm _softmax
""".split()
)

_PRODUCTS = {"mm": 2, "addmm": 2, "bmm": 3}
"""Products of the last two arguments, and the number of their axes."""

_LEFT_OUT = _ELEMENTWISE | _PRODUCTS.keys() | {"convolution", "native_batch_norm"}


class NumbersAskedError(Exception):
    """The model asks for a number that was made up."""


class MadeUp:
    """Computes what must be computed and makes up the rest; ``asked`` tells whether the run is void."""

    def __init__(self) -> None:
        self.asked = False
        self._storages: set[int] = set()

    def __call__(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any], tracked: bool) -> Any:
        """The operator's result; it may be made up where it is ``tracked``: where parameters have a part in it.

        Raises:
            NumbersAskedError: the operator's result depends on numbers that were made up.
        """
        operator = operator_of(function)
        shape = _shape(operator.name, args) if tracked and operator.name in _LEFT_OUT else None
        if shape is not None and operator.in_place and self._any_made_up(args[0]):
            return args[0]
        if shape is not None and not operator.writes:
            result = _zeros(operator, args[0], shape)
            self._storages.update(_storages(result))
            return result
        made_up = self._any_made_up((args, kwargs))
        if made_up:
            self._refuse_reading(function, args)
        result = function(*args, **kwargs)
        if made_up:
            self._storages.update(_storages(result))
        elif self._storages:  # the memory of a tensor that is gone serves another one
            self._storages.difference_update(_storages(result))
        return result

    def hear(self, function: Any, args: tuple[Any, ...]) -> None:
        """Take note of a call that reads memory past all operators.

        Raises:
            NumbersAskedError: it would read numbers that were made up.
        """
        name = getattr(function, "__name__", "")
        if name in _READING and self._any_made_up(args):
            self._void(name)

    def _any_made_up(self, values: Any) -> bool:
        return bool(self._storages) and any(s in self._storages for s in _storages(values))

    def _refuse_reading(self, function: Any, args: tuple[Any, ...]) -> None:
        tags = function.tags
        foreign = function.namespace not in {"aten", "prims"}
        if function.overloadpacket is torch.ops.aten.index:
            reading = any(i is not None and i.dtype in (torch.bool, torch.uint8) for i in args[1])
        else:
            reading = torch.Tag.data_dependent_output in tags or torch.Tag.dynamic_output_shape in tags
        if foreign or reading:
            self._void(str(function))

    def _void(self, name: str) -> None:
        self.asked = True
        raise NumbersAskedError(name)


def _storages(values: Any) -> Iterator[int]:
    if isinstance(values, torch.Tensor):
        if values.layout is torch.strided:
            yield values.untyped_storage()._cdata
    elif isinstance(values, (tuple, list, dict)):
        for value in values.values() if isinstance(values, dict) else values:
            yield from _storages(value)


def _zeros(operator: Operator, first: torch.Tensor, shape: tuple[int, ...]) -> Any:
    """Zeros laid out as the operator does it; a norm's statistics, returned beside, are empty."""
    zeros = torch.zeros_like(first) if shape == first.shape else first.new_zeros(shape)
    return zeros if operator.returns == 1 else (zeros, *(first.new_zeros(0) for _ in range(operator.returns - 1)))


def _shape(name: str, args: tuple[Any, ...]) -> tuple[int, ...] | None:
    """The result's shape of an operator that can be left out; None for arguments that do not fit: it then says why."""
    tensors = [a for a in args if isinstance(a, torch.Tensor)]
    if not tensors or args[0] is not tensors[0] or not args[0].is_floating_point():
        return None
    if any(t.dtype != args[0].dtype for t in tensors):
        return None
    shapes = [tuple(t.shape) for t in tensors]
    if name == "convolution":
        return _convolution(*args[:2], *args[3:9])
    if name in _PRODUCTS:
        (*before, inner), (*same, outer_inner, outer) = shapes[-2:]
        result = (*before, outer)
        fits = inner == outer_inner and before[:-1] == same and len(shapes[-1]) == _PRODUCTS[name]
        return result if fits and all(_fits(shape, result) for shape in shapes[:-2]) else None
    if name == "native_batch_norm":
        fits = not args[5] and all(shape == shapes[0][1:2] for shape in shapes[1:])
    else:
        fits = all(_fits(shape, shapes[0]) for shape in shapes[1:])
    return shapes[0] if fits else None


def _fits(small: tuple[int, ...], large: tuple[int, ...]) -> bool:
    """Whether broadcasting leaves the larger shape as it is."""
    return len(small) <= len(large) and all(s in (1, n) for s, n in zip(small[::-1], large[::-1], strict=False))


def _convolution(data: torch.Tensor, weight: torch.Tensor, stride: Any, padding: Any, dilation: Any,
                 transposed: bool, output_padding: Any, groups: int) -> tuple[int, ...] | None:  # fmt: skip
    """https://docs.pytorch.org/docs/stable/generated/torch.nn.Conv2d.html, and ConvTranspose2d: sizes of the output."""
    inputs = weight.shape[0] if transposed else weight.shape[1] * groups
    if data.ndim != weight.ndim or data.shape[1] != inputs:
        return None
    sizes = []
    for k, size in enumerate(data.shape[2:]):
        reach = dilation[k] * (weight.shape[2 + k] - 1) + 1
        if transposed:
            sizes.append((size - 1) * stride[k] - 2 * padding[k] + reach + output_padding[k])
        else:
            sizes.append((size + 2 * padding[k] - reach) // stride[k] + 1)
    if min(sizes, default=1) < 1:
        return None
    return data.shape[0], weight.shape[1] * groups if transposed else weight.shape[0], *sizes
