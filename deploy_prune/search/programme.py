"""Menu and cost tables as the matrices of a mixed-integer programme.

One binary per group and width, one of them chosen per group. A pair table gets one continuous variable per
pair of widths, whose marginals equal the two choices: with whole choices that is their product, and the
relaxation is the tightest that looks at two groups at a time (the local polytope of pairwise models,
Wainwright and Jordan 2008, 4.1).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy import sparse

from deploy_prune.latency.tables import CostTables

Floats = npt.NDArray[np.float64]
Pairs = dict[tuple[str, str], Floats]

# A pair table that differs from a sum of two unary ones by less than this share of its largest entry is one.
_ADDITIVE = 1e-12


@dataclass(frozen=True, eq=False)
class Programme:
    """Variables: the choices of all groups, then the pairs. ``links @ x == ends``; cost k is ``costs[k] @ x +
    constants[k]``.

    ``first[g]`` is the index of the first choice of g; the first ``choices`` variables are binary.
    """

    widths: Mapping[str, tuple[int, ...]]
    first: Mapping[str, int]
    choices: int
    links: sparse.csr_array
    ends: Floats
    costs: Floats
    constants: Floats

    @property
    def size(self) -> int:
        """Number of variables."""
        return int(self.links.shape[1])

    def read_widths(self, x: Floats) -> dict[str, int]:
        """The widths that a solution (size,) chooses."""
        starts = self.first
        return {g: w[int(np.argmax(x[starts[g] : starts[g] + len(w)]))] for g, w in self.widths.items()}


def build_programme(
    widths: Mapping[str, tuple[int, ...]],
    tables: Sequence[CostTables],
    branches: Sequence[tuple[str, ...]] = (),
    equal: Sequence[tuple[str, ...]] = (),
) -> Programme:
    """The programme over ``widths`` with one cost per entry of ``tables``.

    The groups of a branch go together or not; those of each entry of ``equal`` take the same of their widths.
    """
    lengths = [len(w) for w in widths.values()]
    first = dict(zip(widths, np.cumsum([0, *lengths[:-1]]).tolist(), strict=True))
    choices = sum(lengths)
    reduced = [_reduce(table) for table in tables]
    pairs = sorted({key for _, pair in reduced for key in pair}, key=lambda key: (first[key[0]], first[key[1]]))
    sizes = [len(widths[g]) * len(widths[h]) for g, h in pairs]
    pair_first = dict(zip(pairs, (choices + np.cumsum([0, *sizes[:-1]])).tolist(), strict=True)) if pairs else {}
    costs = np.zeros((len(tables), choices + sum(sizes)))
    for row, (unary, pair) in zip(costs, reduced, strict=True):
        for group, cost in unary.items():
            row[first[group] : first[group] + len(cost)] += cost
        for key, cost in pair.items():
            row[pair_first[key] : pair_first[key] + cost.size] += cost.ravel()
    links, ends = _link(widths, first, pair_first, costs.shape[1])
    constants = np.array([table.constant_s for table in tables])
    tied = [(first[a], first[b]) for groups in branches for a, b in pairwise(groups)]
    tied += [
        (first[a] + k, first[b] + k) for groups in equal for a, b in pairwise(groups) for k in range(len(widths[a]))
    ]
    if tied:
        rows = [entry for row, (a, b) in enumerate(tied) for entry in ((row, a, 1.0), (row, b, -1.0))]
        links = sparse.csr_array(sparse.vstack([links, _ones(len(tied), costs.shape[1], rows)]))
        ends = np.concatenate([ends, np.zeros(len(tied))])
    return Programme(widths, first, choices, links, ends, costs, constants)


def _reduce(tables: CostTables) -> tuple[dict[str, Floats], Pairs]:
    """One pair table per unordered pair; what is a sum of two unary terms moves to them."""
    merged: Pairs = {}
    for (left, right), cost in tables.pair.items():
        if (right, left) in merged:
            merged[right, left] = merged[right, left] + cost.T
        else:
            merged[left, right] = np.asarray(cost, dtype=float)
    unary = {g: np.array(cost, dtype=float) for g, cost in tables.unary.items()}
    pairs: Pairs = {}
    for (left, right), cost in merged.items():
        rows = cost[:, 0]
        columns = cost[0] - cost[0, 0]
        unary[left] = unary.get(left, 0.0) + rows
        unary[right] = unary.get(right, 0.0) + columns
        rest = cost - rows[:, None] - columns
        if np.abs(rest).max() > _ADDITIVE * np.abs(cost).max():
            pairs[left, right] = rest
    return unary, pairs


def _link(
    widths: Mapping[str, tuple[int, ...]],
    first: Mapping[str, int],
    pair_first: Mapping[tuple[str, str], int],
    size: int,
) -> tuple[sparse.csr_array, Floats]:
    """One choice per group; the marginals of each pair equal the choices."""
    blocks = [_ones(1, size, [(0, first[g] + k, 1.0) for k in range(len(w))]) for g, w in widths.items()]
    ends = np.ones(len(blocks))
    marginals = []
    for (left, right), start in pair_first.items():
        rows, columns = len(widths[left]), len(widths[right])
        cells = [(r, c, start + r * columns + c) for r in range(rows) for c in range(columns)]
        entries = [(r, at, 1.0) for r, _, at in cells] + [(rows + c, at, 1.0) for _, c, at in cells]
        entries += [(r, first[left] + r, -1.0) for r in range(rows)]
        entries += [(rows + c, first[right] + c, -1.0) for c in range(columns)]
        marginals.append(_ones(rows + columns, size, entries))
    links = sparse.csr_array(sparse.vstack([*blocks, *marginals]))
    return links, np.concatenate([ends, np.zeros(links.shape[0] - len(ends))])


def _ones(rows: int, columns: int, entries: list[tuple[int, int, float]]) -> sparse.coo_array:
    """A sparse matrix from (row, column, value)."""
    row, column, value = zip(*entries, strict=True)
    return sparse.coo_array((value, (row, column)), shape=(rows, columns))
