"""Parameters and multiply-accumulates of a model as functions of its group widths, exact at any of them.

A parameter's elements are the product of its axes' extents. Of an operator that multiplies, the arithmetic is a product
of extents too: those of a convolution's weight, of the rows and columns of two matrices, of queries, keys and values.
Which groups an extent depends on is read from the model's dependency structure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import reduce
from math import prod
from operator import add, mul
from typing import Any

import numpy as np
from torch import nn

from deploy_prune.graph.products import Product
from deploy_prune.graph.units import UnitGroup, Units
from deploy_prune.graph.values import Atoms, Value
from deploy_prune.pruner.branches import lies_within
from deploy_prune.search.polynomial import Polynomial, Work
from deploy_prune.search.prunable import Prunable

_CONVOLUTIONS = ("convolution", "torchvision.deform_conv2d")


class Extents:
    """How long axes are at any widths of some groups, all others staying as they are."""

    def __init__(self, units: Units, groups: Iterable[str]) -> None:
        self._groups = [units.group(name) for name in groups]
        self._labels = {g.partition: units.labels(g.partition) for g in self._groups}
        self._owner = {partition: np.full(int(labels.max()) + 1, -1) for partition, labels in self._labels.items()}
        for k, group in enumerate(self._groups):
            self._owner[group.partition][group.labels.ravel()] = k

    def along(self, atoms: Atoms) -> Polynomial:
        """The length of an axis with these atoms (1-d): so many per unit of each group, and what stays.

        Atoms of a group whose units have not equally many there count as staying: the axis is not shortened unit by
        unit.
        """
        terms: dict[tuple[str, ...], int] = {}
        stays = len(atoms)
        for partition, labels in self._labels.items():
            found = labels[atoms]
            for k in np.unique(self._owner[partition][found]):
                if k >= 0:
                    per_unit = _per_unit(self._groups[k], found)
                    if per_unit:
                        terms[(self._groups[k].name,)] = per_unit
                        stays -= per_unit * self._groups[k].width
        return Polynomial(terms | ({(): stays} if stays else {}))

    def of(self, value: Value, axis: int) -> Polynomial:
        """The length of an axis of a tensor."""
        block = value.block_at(axis) if value.ndim else None
        if block is None:
            return Polynomial.constant(value.shape[axis])
        along = np.moveaxis(block.atoms, block.axes.index(axis % value.ndim), 0)
        return self.along(along.reshape(len(along), -1)[:, 0])


def _per_unit(group: UnitGroup, found: np.ndarray) -> int:
    """How many of the components ``found`` each unit of the group has, over all its rows; 0 where they differ."""
    counts = np.bincount(found, minlength=int(group.labels.max()) + 1)[group.labels]  # (rows, width)
    return int(counts[:, 0].sum()) if (counts == counts[:, :1]).all() else 0


def parameter_work(prunable: Prunable) -> Work:
    """Elements of all parameters of the model."""
    extents = Extents(prunable.graph.units, prunable.ranking)
    parts = [(name, _elements(name, p, prunable.graph.units, extents)) for name, p in prunable.model.named_parameters()]
    return _sorted_by_branch(parts, prunable.branches)


def weight_bytes(prunable: Prunable, *, least_axes: int = 0) -> Work:
    """Bytes of all parameters of at least ``least_axes`` axes."""
    parts = [
        (name, _elements(name, p, prunable.graph.units, extents) * Polynomial.constant(p.element_size()))
        for extents in [Extents(prunable.graph.units, prunable.ranking)]
        for name, p in prunable.model.named_parameters()
        if p.ndim >= least_axes
    ]
    return _sorted_by_branch(parts, prunable.branches)


def mac_work(prunable: Prunable, dense_macs: int) -> Work:
    """Multiply-accumulates of one run on the inputs that the model was analysed with.

    Args:
        prunable: the model.
        dense_macs: what :func:`deploy_prune.count.count` says of the dense model on these inputs. What it counts in
            operators that are not known here (bilinear layers, say) counts in full at any widths.
    """
    extents = Extents(prunable.graph.units, prunable.ranking)
    products = prunable.graph.units.facts.products
    parts = [(product.module, _macs(product, extents)) for product in products]
    work = _sorted_by_branch(parts, prunable.branches)
    rest = dense_macs - work.at(prunable.full_widths)
    if rest < 0:  # the analysis ran what the count did not: nothing is known
        return Work(Polynomial.constant(dense_macs))
    return Work(work.always + Polynomial.constant(rest), work.inside)


def _elements(name: str, parameter: nn.Parameter, units: Units, extents: Extents) -> Polynomial:
    lengths = (
        extents.along(units.axes[name, axis]) if (name, axis) in units.axes else Polynomial.constant(size)
        for axis, size in enumerate(parameter.shape)
    )
    return reduce(mul, lengths, Polynomial.constant(1))


def _macs(product: Product, extents: Extents) -> Polynomial:
    """The arithmetic of one call; formulas as in :mod:`deploy_prune.count`."""

    def elements(value: Value, *axes: int) -> Polynomial:
        return reduce(mul, (extents.of(value, a) for a in axes), Polynomial.constant(1))

    args: Any = product.args
    name = product.operator
    if name in _CONVOLUTIONS:
        data, weight = args[:2]
        shape = data.shape if name == "convolution" and args[6] else product.shape  # transposed ones scatter the input
        # an axis of places may be channels elsewhere (levels mixed by a convolution with kernels of one)
        tied = [a for a in range(2, data.ndim) if data.block_at(a) and data.shape[a] == shape[a]]
        places = Polynomial.constant(prod(n for a, n in enumerate(shape) if a > 1 and a not in tied))
        return elements(data, 0, *tied) * places * elements(weight, *range(weight.ndim))
    if name.startswith("_scaled_dot_product"):
        query, key, value = args[:3]
        return elements(query, *range(query.ndim - 1)) * elements(key, -2) * (elements(query, -1) + elements(value, -1))
    if name == "mkldnn_rnn_layer":
        data = args[0]
        return elements(data, *range(data.ndim - 1)) * reduce(add, (elements(w, 0, 1) for w in args[1:3]))
    left, right = args[1:3] if name.startswith(("add", "badd")) else args[:2]
    columns = elements(right, -1) if right.ndim > 1 else Polynomial.constant(1)
    return elements(left, *range(left.ndim)) * columns


def _sorted_by_branch(parts: Iterable[tuple[str, Polynomial]], branches: Mapping[str, tuple[str, ...]]) -> Work:
    always, inside = Polynomial(), dict.fromkeys(branches.values(), Polynomial())
    for name, part in parts:
        branch = next((groups for module, groups in branches.items() if lies_within(name, (module,))), None)
        if branch is None:
            always += part
        else:
            inside[branch] += part
    return Work(always, {groups: part for groups, part in inside.items() if part.terms})
