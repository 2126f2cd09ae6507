"""Rows that may lose different indices: halves of a chunk, heads, norm groups, where nothing ties index to index.

Columns of a box are tied so that every row loses equally many. Where only the *count* binds, each row may choose for
itself. A unit of a column group then falls into cells, one per row, and any pairing of cells of different rows is as
good as the one by index.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import cached_property

import numpy as np

from deploy_prune.graph.boxes import key, last_free_axis, rows_of
from deploy_prune.graph.facts import Facts
from deploy_prune.graph.resolve import Resolved
from deploy_prune.graph.values import Atoms


class RowFinder:
    """Splits column groups into rows of cells."""

    def __init__(self, facts: Facts, resolved: Resolved) -> None:
        self._cell_of = resolved.cells
        self._facts, self._resolved = facts, resolved
        self._column_of_cell = np.zeros(int(self._cell_of.max(initial=-1)) + 1, np.int64)
        self._column_of_cell[self._cell_of] = resolved.columns.labels
        self._cells = np.argsort(self._column_of_cell, kind="stable")
        self._bounds = np.searchsorted(self._column_of_cell[self._cells], np.arange(resolved.columns.count + 1))

    def rows(self, columns: np.ndarray) -> np.ndarray | None:
        """Cells of the group made of these components, shape (rows, units); None where index is tied to index.

        Row r holds one cell of every unit. Cells are of one row when the same boxes and sizes count them; each unit
        must have exactly one per row, and flattened layouts must keep rows together, so that survivors stay in order.
        """
        counts = self._bounds[columns + 1] - self._bounds[columns]
        count = int(counts[0])
        if count < 2 or (counts != count).any():
            return None
        cells = self._cells[self._bounds[columns][:, None] + np.arange(count)]
        counted, layouts = self._touching(columns)
        row_of = self._row_numbers(cells.ravel(), counted)
        if row_of is None:
            return None
        names, numbers = np.unique(row_of, return_inverse=True)
        numbers = numbers.reshape(cells.shape)
        if len(names) != count or (np.sort(numbers, axis=1) != np.arange(count)).any():
            return None
        if not _together(cells.ravel(), row_of, layouts):
            return None
        table = np.take_along_axis(cells, np.argsort(numbers, axis=1), axis=1).T
        return table[np.argsort(table[:, 0])]

    def row_of_atoms(self, cells: np.ndarray) -> np.ndarray:
        """For every atom the row of its cell in such a table; 0 for atoms of other groups."""
        row_of_cell = np.zeros(len(self._column_of_cell), np.int64)
        row_of_cell[cells] = np.arange(len(cells))[:, None]
        rows: np.ndarray = row_of_cell[self._cell_of]
        return rows

    @cached_property
    def _vectors(self) -> list[tuple[np.ndarray, bool]]:
        """Cells of every counted row (False) and of every flattened layout (True), each once."""
        found: list[tuple[Atoms, bool]] = []
        for box in self._resolved.boxes:
            axis = last_free_axis(box)
            if axis is not None:
                found += [(row, False) for row in rows_of(box.atoms, axis)]
        found += [(e.atoms.ravel(), False) for e in self._facts.equations]
        found += [(layout.ravel(), True) for layout in self._facts.layouts]
        return [(self._cell_of[a], kind) for a, kind in {(key(a), kind): (a, kind) for a, kind in found}.values()]

    @cached_property
    def _touches(self) -> tuple[np.ndarray, np.ndarray]:
        """Pairs of a component and the number of a vector that touches it, by component."""
        if not self._vectors:
            return np.empty(0, np.int64), np.empty(0, np.int64)
        cells = np.concatenate([cells for cells, _ in self._vectors])
        number = np.repeat(np.arange(len(self._vectors)), [len(cells) for cells, _ in self._vectors])
        pairs = np.unique(self._column_of_cell[cells].astype(np.int64) * len(self._vectors) + number)
        return np.divmod(pairs, len(self._vectors))

    def _touching(self, columns: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """The counted rows and the layouts that hold anything of these components."""
        component, number = self._touches
        asked = np.zeros(self._resolved.columns.count, bool)
        asked[columns] = True
        hit = np.unique(number[asked[component]]).tolist()
        vectors = [self._vectors[k] for k in hit]
        return [v for v, is_layout in vectors if not is_layout], [v for v, is_layout in vectors if is_layout]

    def _row_numbers(self, cells: np.ndarray, counted: Sequence[np.ndarray]) -> np.ndarray | None:
        """A number per cell, equal where the same rows hold them; None where one holds a cell twice."""
        signature = np.zeros(len(cells), np.uint64)
        if not counted:
            return signature
        place = np.full(len(self._column_of_cell), -1, np.int64)
        place[cells] = np.arange(len(cells))
        places, vector = place[np.concatenate(counted)], np.repeat(np.arange(len(counted)), list(map(len, counted)))
        places, vector = places[places >= 0], vector[places >= 0]
        pairs = vector * len(cells) + places
        if len(np.unique(pairs)) < len(pairs):
            return None
        numbers = np.random.default_rng(0).integers(1, 2**63, len(counted), dtype=np.uint64)
        np.add.at(signature, places, numbers[vector])
        return signature


def _together(cells: np.ndarray, row_of: np.ndarray, layouts: Sequence[np.ndarray]) -> bool:
    """Whether every flattened layout holds each row's cells in one run."""
    row = dict(zip(cells.tolist(), row_of.tolist(), strict=True))
    for layout in layouts:
        runs = [row[c] for c in dict.fromkeys(layout.tolist()) if c in row]
        changes = 1 + sum(a != b for a, b in itertools.pairwise(runs))
        if runs and changes != len(set(runs)):
            return False
    return True
