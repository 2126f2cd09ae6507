"""What a measured layer is: everything that its time depends on besides the device.

A :class:`LayerKind` leaves the widths open, so that layers of different models, and one layer at many widths, are of
one kind; a :class:`LayerKey` adds the widths and is one entry of a table.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Attribute = int | float | str | tuple[int, ...] | tuple[float, ...]
Attributes = tuple[tuple[str, Attribute], ...]
Shape = tuple[int, ...]
Extents = tuple[int | str, ...]

C_IN, C_OUT = "c_in", "c_out"
"""What stands in a shape where a width goes."""
# Attributes that repeat a width, or what is told in another place.
_LEFT_OUT = frozenset({"channels", "split", "activation"})
_PRODUCTS = ("Gemm", "MatMul")
# Operators that keep channels last, whatever the rank; the others have them on axis 1 from rank 4 on.
_CHANNELS_LAST = ("LayerNormalization", "SkipLayerNormalization", *_PRODUCTS)


@dataclass(frozen=True)
class LayerKind:
    """A layer with its widths left open.

    Attributes:
        operator: the ONNX operator that it computes, or the engine's own (a change of layout).
        attributes: of the node (kernel, strides, pads …), defaults left out; a ``group`` that is the width is "c_in".
        fused: operators that the engine computes in the same pass.
        inputs: extents of the activations read, "c_in" where the width is.
        outputs: extents written, "c_out" where the width is.
    """

    operator: str
    attributes: Attributes
    fused: tuple[str, ...]
    inputs: tuple[Extents, ...]
    outputs: tuple[Extents, ...]

    def to_json(self) -> str:
        """One canonical line: equal kinds have equal texts."""
        fields = [self.operator, [*self.attributes], self.fused, self.inputs, self.outputs]
        return json.dumps(fields, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> LayerKind:
        """The inverse of ``to_json``."""
        operator, attributes, *lists = json.loads(text)
        fused, inputs, outputs = (_freeze(part) for part in lists)
        return cls(operator, _freeze(attributes), fused, inputs, outputs)

    def describe(self) -> str:
        """``Conv 3x3 /2 +Relu, 1×c_in×20×20 → 1×c_out×10×10``: for people, short of rare attributes."""
        known = dict(self.attributes)
        words = [self.operator]
        if isinstance(kernel := known.get("kernel_shape"), tuple):
            words.append("x".join(map(str, kernel)))
        if isinstance(strides := known.get("strides"), tuple):
            words.append(f"/{strides[0]}")
        if group := known.get("group"):
            words.append("depthwise" if group == C_IN else f"in {group} groups")
        words += [f"+{name}" for name in self.fused]
        sides = (", ".join("×".join(map(str, shape)) for shape in side) for side in (self.inputs, self.outputs))
        return f"{' '.join(words)}, {' → '.join(sides)}"


@dataclass(frozen=True)
class LayerKey:
    """A kind at its widths, in channels (features of a product)."""

    kind: LayerKind
    c_in: int
    c_out: int


def identify_layer(
    operator: str,
    attributes: Attributes,
    fused: tuple[str, ...],
    input_shapes: Sequence[Shape],
    output_shapes: Sequence[Shape],
    weight_shape: Shape | None,
) -> LayerKey:
    """The key of a node from what its engine says of it.

    Widths of convolutions and products are those of their weights (engines pad what they execute), all others those of
    the executed shapes. Operators of several inputs have the width of the first; further inputs keep their extents.

    Args:
        operator: the ONNX operator, or the engine's.
        attributes: of the node, defaults left out.
        fused: what is computed in the same pass.
        input_shapes: of all that is read, the first activation first.
        output_shapes: of all that is written.
        weight_shape: of the exported node's weights, if it has any, in ONNX's order of axes.
    """
    widths = _widths_of_weights(operator, dict(attributes), weight_shape)
    if widths is not None:
        c_in, c_out = widths
        inputs, outputs = input_shapes[:1], output_shapes[:1]
    else:
        c_in, c_out = (_width(operator, shapes) for shapes in (input_shapes, output_shapes))
        if operator == "Concat":
            c_in = sum(_width(operator, [shape]) for shape in input_shapes)
        inputs, outputs = input_shapes, output_shapes
    kept = tuple((n, C_IN if n == "group" and v == c_in else v) for n, v in attributes if n not in _LEFT_OUT)
    kind = LayerKind(operator, kept, fused, _open(operator, inputs, C_IN), _open(operator, outputs, C_OUT))
    return LayerKey(kind, c_in, c_out)


def _widths_of_weights(operator: str, attributes: dict[str, Attribute], shape: Shape | None) -> tuple[int, int] | None:
    """Channels read and written; None where there are no weights to tell."""
    group = attributes.get("group", 1)
    if shape is None or len(shape) < 2 or not isinstance(group, int):
        return None
    if operator == "Conv":
        return shape[1] * group, shape[0]
    if operator == "ConvTranspose":
        return shape[0], shape[1] * group
    if operator in _PRODUCTS:
        return (shape[-1], shape[-2]) if attributes.get("transB") else (shape[-2], shape[-1])
    return None


def _channel_axis(operator: str, rank: int) -> int:
    return 1 if rank >= 4 and operator not in _CHANNELS_LAST else rank - 1


def _width(operator: str, shapes: Sequence[Shape]) -> int:
    """The channels of the first shape; 1 for a scalar, or where there is none."""
    shape = shapes[0] if shapes else ()
    return shape[_channel_axis(operator, len(shape))] if shape else 1


def _open(operator: str, shapes: Sequence[Shape], mark: str) -> tuple[Extents, ...]:
    """The shapes with a mark in place of the first one's width, wherever the others have the same; Concat: all."""
    width = _width(operator, shapes)
    opened: list[Extents] = []
    for shape in shapes:
        axis = _channel_axis(operator, len(shape))
        same = bool(shape) and (shape[axis] == width or operator == "Concat")
        opened.append((*shape[:axis], mark, *shape[axis + 1 :]) if same else shape)
    return tuple(opened)


def _freeze(value: list[Any]) -> tuple[Any, ...]:
    """Lists, which JSON makes of tuples, back into tuples at any depth."""
    return tuple(_freeze(part) if isinstance(part, list) else part for part in value)
