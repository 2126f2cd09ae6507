"""Rows that may lose different indices: halves of a chunk, heads, norm groups, where nothing ties index to index.

Columns of a box are tied so that every row loses equally many. Where only the *count* binds, each row may choose for
itself. A unit of a column group then falls into cells, one per row, and any pairing of cells of different rows is as
good as the one by index.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from deploy_prune.graph.boxes import last_free_axis, rows_of
from deploy_prune.graph.resolve import Resolved
from deploy_prune.graph.values import Atoms, Facts


class RowFinder:
    """Splits column groups into rows of cells."""

    def __init__(self, facts: Facts, resolved: Resolved) -> None:
        self.column_of = resolved.columns.labels
        self.cell_of = resolved.cells
        order = np.argsort(self.column_of, kind="stable")
        self._order = order
        self._bounds = np.searchsorted(self.column_of[order], np.arange(resolved.columns.count + 1))
        self._vectors: list[tuple[Atoms, bool]] = []
        for box in resolved.boxes:
            axis = last_free_axis(box)
            if axis is not None:
                self._vectors += [(row, False) for row in rows_of(box.atoms, axis)]
        self._vectors += [(e.atoms.ravel(), False) for e in facts.equations]
        self._vectors += [(layout.ravel(), True) for layout in facts.layouts]
        self._by_column = self._index()

    def _index(self) -> dict[int, list[int]]:
        """Which vectors touch each component."""
        touching: dict[int, list[int]] = {}
        for k, (atoms, _) in enumerate(self._vectors):
            for column in np.unique(self.column_of[atoms]):
                touching.setdefault(int(column), []).append(k)
        return touching

    def rows(self, columns: Sequence[int] | np.ndarray) -> np.ndarray | None:
        """Cells of the group made of these components, shape (rows, units); None where index is tied to index.

        Row r holds one cell of every unit. Cells are of one row when the same boxes and sizes count them; each unit
        must have exactly one per row, and flattened layouts must keep rows together, so that survivors stay in order.
        """
        units = [np.unique(self.cell_of[self._members(c)]) for c in columns]
        count = len(units[0])
        if count < 2 or any(len(cells) != count for cells in units):
            return None
        touching = sorted({k for c in columns for k in self._by_column.get(int(c), ())})
        every = np.concatenate(units)
        row_of = self._row_numbers(every, touching)
        if row_of is None or len(np.unique(row_of)) != count:
            return None
        table = np.empty((count, len(units)), np.int64)
        numbers = np.searchsorted(np.unique(row_of), row_of).reshape(len(units), count)
        for u, cells in enumerate(units):
            if len(np.unique(numbers[u])) != count:
                return None
            table[numbers[u], u] = cells
        return table[np.argsort(table[:, 0])] if self._together(every, row_of, touching) else None

    def _members(self, column: int) -> Atoms:
        return self._order[self._bounds[column] : self._bounds[column + 1]]

    def _row_numbers(self, cells: np.ndarray, touching: Sequence[int]) -> np.ndarray | None:
        """A number per cell, equal where the same vectors hold them; None where one holds a cell twice."""
        numbers = np.random.default_rng(0).integers(1, 2**63, len(touching), dtype=np.uint64)
        signature = np.zeros(len(cells), np.uint64)
        sorter = np.argsort(cells)
        for number, k in zip(numbers, touching, strict=True):
            atoms, is_layout = self._vectors[k]
            if is_layout:
                continue
            found, times = np.unique(self.cell_of[atoms], return_counts=True)
            place = np.searchsorted(cells, found, sorter=sorter)
            inside = place < len(cells)
            hit = np.zeros(len(found), bool)
            hit[inside] = cells[sorter[place[inside]]] == found[inside]
            if (times[hit] > 1).any():
                return None
            signature[sorter[place[hit]]] += number
        return signature

    def _together(self, cells: np.ndarray, row_of: np.ndarray, touching: Sequence[int]) -> bool:
        """Whether every flattened layout holds each row's cells in one run."""
        row = dict(zip(cells.tolist(), row_of.tolist(), strict=True))
        for k in touching:
            atoms, is_layout = self._vectors[k]
            if not is_layout:
                continue
            order = dict.fromkeys(self.cell_of[atoms].tolist())
            runs = [row[c] for c in order if c in row]
            changes = 1 + sum(a != b for a, b in itertools.pairwise(runs))
            if changes != len(set(runs)):
                return False
        return True
