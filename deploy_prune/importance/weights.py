"""Which parameters of a group a criterion looks at, and the part of each that a unit owns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import torch
from torch import nn

Slice = tuple[Any, torch.Tensor]
"""A dependency (``.target.module``, ``.target.name``, ``.parameter``, ``.axis``, ``.tensor``) and the units' indices
on its axis, shape (units, m), or (rows, units, m) in a view of all rows of a group."""


class ScoredGroup(Protocol):
    """What a criterion sees of a group: ``(dependency, indices)`` pairs, and the same with one row per unit."""

    def __iter__(self) -> Iterator[tuple[Any, list[int]]]: ...

    def slices(self) -> Iterator[Slice]:
        """Pairs of dependency and indices of shape (units, m), one for each axis of each parameter."""


def weights_of(group: ScoredGroup, *, bias: bool = False, target_types: Sequence[type] | None = None) -> list[Slice]:
    """The slices of a group's parameters in order of execution; the graph has a tied one once. Buffers do not count.

    Args:
        group: the group to score.
        bias: whether biases count. They do without being asked where a group has nothing else.
        target_types: module types whose parameters count; None: all.
    """
    types = (nn.Module,) if target_types is None else tuple(target_types)
    slices = [
        (dependency, indices)
        for dependency, indices in group.slices()
        if isinstance(dependency.target.module, types) and isinstance(dependency.tensor, nn.Parameter)
    ]
    return slices if bias else prefer(slices, lambda dependency: "bias" not in dependency.parameter)


def prefer(slices: list[Slice], wanted: Callable[[Any], bool]) -> list[Slice]:
    """The slices whose dependency is ``wanted``; all of them where none is, so that every group has a score."""
    return [s for s in slices if wanted(s[0])] or slices


def unit_sums(
    worth: Callable[..., torch.Tensor], axis: int, indices: torch.Tensor, *tensors: torch.Tensor
) -> torch.Tensor:
    """Sum over what each unit owns of ``worth(*tensors)``, shape (...), in single precision at least.

    Args:
        worth: elementwise.
        axis: the axis that loses indices.
        indices: of shape (..., m) into that axis; a unit owns all its m slices.
        tensors: a parameter and what else is shaped like it.
    """
    flat = indices.flatten().to(tensors[0].device)
    first, last = map(int, flat.aminmax())
    extent = last + 1 - first
    # Picking slices costs a copy, and one across memory where they are columns: a run of them is summed as it lies.
    if extent < 2 * len(flat):
        sums = _sums(worth, axis, [tensor.detach().narrow(axis, first, extent) for tensor in tensors])[flat - first]
    else:
        sums = _sums(worth, axis, [tensor.detach().index_select(axis, flat) for tensor in tensors])
    return sums.view(indices.shape).sum(-1)


PIECE = 1 << 20  # elements: new memory for as many weights as a large layer has costs more than the arithmetic


def _sums(worth: Callable[..., torch.Tensor], axis: int, tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    """Sums of ``worth(*tensors)`` over all axes but one, piece by piece."""
    others = [a for a in range(tensors[0].ndim) if a != axis]
    if tensors[0].numel() <= PIECE:
        values = worth(*map(widened, tensors))
        return values.sum(others) if others else values
    rows = max(1, PIECE * len(tensors[0]) // tensors[0].numel())
    pieces = zip(*(tensor.split(rows) for tensor in tensors), strict=True)
    worths = (worth(*map(widened, piece)) for piece in pieces)
    sums = [values.sum(others) if others else values for values in worths]
    return torch.cat(sums) if axis == 0 else torch.stack(sums).sum(0)


def unit_rows(tensor: torch.Tensor, axis: int, indices: torch.Tensor) -> torch.Tensor:
    """What each unit owns of a tensor, shape (..., n), in single precision at least.

    Args:
        tensor: a parameter, or something shaped like it.
        axis: the axis that loses indices.
        indices: of shape (..., m) into that axis; a unit owns all its m slices.
    """
    return widened(tensor.detach().movedim(axis, 0)[indices.to(tensor.device)].flatten(indices.ndim - 1))


def widened(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor in single precision at least, so that sums of halves neither overflow nor stall."""
    return tensor if tensor.dtype == torch.float32 else tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def input_axis(module: nn.Module) -> int:
    """The axis of ``module.weight`` that meets the layer's input.

    It is 1 but for transposed convolutions, embeddings and the ``Conv1D`` of GPT-2 (known by its ``nf``), whose weights
    have shape (in, out).
    """
    inputs_first = getattr(module, "transposed", False) or isinstance(module, nn.Embedding) or hasattr(module, "nf")
    return 0 if inputs_first else 1


def is_matrix(dependency: Any) -> bool:
    """Whether the parameter has more than one axis: a layer's weight, in contrast to a norm's scale or a bias."""
    matrix: bool = dependency.tensor.ndim > 1
    return matrix


def parameter_name(dependency: Any) -> str:
    """The full name of a dependency's parameter, such as ``layer1.0.conv1.weight``."""
    return f"{dependency.target.name}.{dependency.parameter}".lstrip(".")
