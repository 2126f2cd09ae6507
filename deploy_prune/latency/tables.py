"""Cost tables: a network's latency as a constant, one term per group and one per pair of groups."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt

from deploy_prune.errors import InputError
from deploy_prune.latency.node import NodeModel
from deploy_prune.latency.sizes import AffineSize

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class CostTables:
    """Seconds for every choice of widths: ``constant_s + sum of unary + sum of pair``.

    ``widths`` gives the menu that the tables are for. ``unary[g]`` has one entry per width of g; ``pair[g,
    h]`` has shape (widths of g, widths of h). Groups without a table cost nothing. Raises ``InputError`` for
    a wrong shape.
    """

    widths: Mapping[str, tuple[int, ...]]
    constant_s: float
    unary: Mapping[str, Floats]
    pair: Mapping[tuple[str, str], Floats]

    def __post_init__(self) -> None:
        alone = [((group,), table) for group, table in self.unary.items()]
        for groups, table in [*alone, *self.pair.items()]:
            unknown = [g for g in groups if g not in self.widths]
            if unknown:
                raise InputError(f"cost table for {groups}: group {unknown[0]!r} is not on the menu")
            expected = tuple(len(self.widths[g]) for g in groups)
            if np.shape(table) != expected:
                raise InputError(f"cost table for {groups} has shape {np.shape(table)}, its widths need {expected}")

    def cost_s(self, widths: Mapping[str, int]) -> float:
        """Seconds at these widths, each of them on the menu."""
        at = {g: self.widths[g].index(widths[g]) for g in self.widths}
        unary = sum(float(table[at[g]]) for g, table in self.unary.items())
        return self.constant_s + unary + sum(float(table[at[g], at[h]]) for (g, h), table in self.pair.items())


def tabulate(
    nodes: Sequence[NodeModel], menu: Mapping[str, Sequence[int]], full_widths: Mapping[str, int]
) -> CostTables:
    """Tables of the sum of the node times over ``menu``; groups not on it stay at their full width."""
    sums = _Sums({g: tuple(menu.get(g, (full,))) for g, full in full_widths.items()})
    for node in nodes:
        sums.add_node(node)
    return sums.freeze(tuple(menu))


class _Sums:
    """Running sums of node tables; exact, since ``NodeModel.axes`` are what tables can hold."""

    def __init__(self, widths: dict[str, tuple[int, ...]]) -> None:
        self.widths = widths
        self.rank = {g: k for k, g in enumerate(widths)}
        self.constant_s = 0.0
        self.unary: dict[str, Floats] = {}
        self.pair: dict[tuple[str, str], Floats] = {}

    def add_node(self, node: NodeModel) -> None:
        if len(node.groups) <= 2:
            self._add_grid(node)
        elif node.pivot is not None:
            self._add_pivot(node, node.pivot, pivot_is_output=node.axes == ("o",))
        else:
            self._add_bilinear(node)

    def _add_grid(self, node: NodeModel) -> None:
        """At most two groups: the time itself at every choice; nothing where the node is gone with its branch."""
        groups = node.groups if node.gate is None else tuple(dict.fromkeys((*node.groups, node.gate)))
        shape = tuple(len(self.widths[g]) for g in groups)
        i, o = (self._size_grid(size, groups) / d for size, d in zip(node.sizes, node.dense_sizes, strict=True))
        times = node.time_s(i, o).reshape(shape)
        if node.gate is not None:
            along = [-1 if g == node.gate else 1 for g in groups]
            times = times * self._there(node.gate).reshape(along)
        if not groups:
            self.constant_s += float(times)
        elif len(groups) == 1:
            self._add_unary(groups[0], times)
        else:
            self._add_pair(groups[0], groups[1], times)

    def _add_pivot(self, node: NodeModel, pivot: str, pivot_is_output: bool) -> None:
        """One group decides one size: for each width of it the time is affine in the other size."""
        own, other = node.sizes[::-1] if pivot_is_output else node.sizes
        own_dense, other_dense = node.dense_sizes[::-1] if pivot_is_output else node.dense_sizes
        at = self._size_grid(own, (pivot,)) / own_dense
        at_zero, at_one = (node.time_s(x, at) if pivot_is_output else node.time_s(at, x) for x in (0.0, 1.0))
        if node.gate is not None:
            at_zero, at_one = at_zero * self._there(pivot), at_one * self._there(pivot)
        slope = at_one - at_zero
        self._add_unary(pivot, at_zero + slope * other.constant / other_dense)
        for group in other.groups:
            self._add_pair(group, pivot, np.outer(other.term(group, self.widths[group]) / other_dense, slope))

    def _add_bilinear(self, node: NodeModel) -> None:
        """Several groups decide each size and no correction applies: expand a + b i + c o + d i o."""
        a, b, c, d = node.smooth.coefficients
        i0, o0 = (size.constant / dense for size, dense in zip(node.sizes, node.dense_sizes, strict=True))
        inputs, outputs = (
            {g: size.term(g, self.widths[g]) / dense for g in size.groups}
            for size, dense in zip(node.sizes, node.dense_sizes, strict=True)
        )
        self.constant_s += a + b * i0 + c * o0 + d * i0 * o0
        for group, share in inputs.items():
            self._add_unary(group, (b + d * o0) * share)
        for group, share in outputs.items():
            self._add_unary(group, (c + d * i0) * share)
        if d:
            for left, right in product(inputs, outputs):
                self._add_pair(left, right, d * np.outer(inputs[left], outputs[right]))

    def _there(self, group: str) -> Floats:
        """1 at each width of a group above zero, else 0."""
        return (np.array(self.widths[group]) > 0).astype(float)

    def _size_grid(self, size: AffineSize, groups: tuple[str, ...]) -> Floats:
        """Elements at every choice of ``groups``, one axis per group."""
        grid = np.full(tuple(len(self.widths[g]) for g in groups), size.constant)
        for axis, group in enumerate(groups):
            if group in size.coefficients:
                along = [-1 if k == axis else 1 for k in range(len(groups))]
                grid = grid + size.term(group, self.widths[group]).reshape(along)
        return grid

    def _add_unary(self, group: str, costs: Floats) -> None:
        self.unary[group] = self.unary.get(group, 0.0) + costs

    def _add_pair(self, left: str, right: str, costs: Floats) -> None:
        if left == right:
            self._add_unary(left, np.diag(costs))
        elif self.rank[left] > self.rank[right]:
            self._add_pair(right, left, costs.T)
        else:
            self.pair[left, right] = self.pair.get((left, right), 0.0) + costs

    def freeze(self, menu: tuple[str, ...]) -> CostTables:
        """The tables over the groups of ``menu``; others have one width, which joins the rest."""
        for (left, right), costs in list(self.pair.items()):
            if left not in menu or right not in menu:
                del self.pair[left, right]
                self._add_unary(*((right, costs[0]) if left not in menu else (left, costs[:, 0])))
        for group in [g for g in self.unary if g not in menu]:
            self.constant_s += float(self.unary.pop(group)[0])
        return CostTables({g: self.widths[g] for g in menu}, self.constant_s, self.unary, self.pair)
