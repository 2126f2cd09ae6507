"""The tables of docs/accuracy.md, from the rows that benchmarks/accuracy.py wrote."""

import statistics
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from markers import fill

HEADER = (
    "| network, pictures | asked | seeds | dense | pruned | recovered | best rival | finetuned | best rival | "
    "smaller dense |"
)
Cell = Mapping[str, Any]


def write_table(rows: Mapping[str, Cell]) -> None:
    """Means over the seeds, then every cell in which ours is not the better one."""
    groups: dict[tuple[str, float], list[tuple[Cell, Cell]]] = {}
    for key, row in rows.items():
        for cell in row["cells"]:
            groups.setdefault((key.rpartition(", seed ")[0], cell["speedup"]), []).append((row, cell))
    lines = [HEADER, "| --- " * 10 + "|"]
    lines += [_line(name, asked, cells) for (name, asked), cells in groups.items()]
    behind = [f"* {key}: {said}" for key, said in _behind(rows)]
    dates = sorted({row["date"] for row in rows.values()})
    machines = sorted({row["machine"] for row in rows.values()})
    cells_before = [cell for row in rows.values() for cell in row["cells"]]
    lead = sum(_leads(cell, "before") for cell in cells_before)
    after = sum(_mean(cells, lambda c: c["ours"]["after"]) >= _best(cells, "after") for cells in groups.values())
    lines += [
        "",
        f"Before finetuning ours is the better one in {lead} of {len(cells_before)} cells, after it in the mean of "
        f"{after} of {len(groups)} rows.",
        "",
        *(["Where it is not:", "", *behind, ""] if behind else []),
        f"Measured on {', '.join(dates)} on {', '.join(machines)}.",
    ]
    fill("docs/accuracy.md", "accuracy", "accuracy.py", "\n".join(lines))


def _line(name: str, asked: float, cells: list[tuple[Cell, Cell]]) -> str:
    figures = [
        statistics.mean(row["dense"] for row, _ in cells),
        _mean(cells, lambda cell: cell["ours"]["pruned"]),
        _mean(cells, lambda cell: cell["ours"]["before"]),
        _best(cells, "before"),
        _mean(cells, lambda cell: cell["ours"]["after"]),
        _best(cells, "after"),
        _mean(cells, lambda cell: cell["smaller"]["after"]),
    ]
    shown = " | ".join("-" if figure is None or figure < 0 else f"{figure:.3f}" for figure in figures)
    return f"| {name} | {asked:g}× | {len(cells)} | {shown} |"


def _mean(cells: list[tuple[Cell, Cell]], of: Callable[[Cell], float]) -> float:
    return statistics.mean(of(cell) for _, cell in cells if "fails" not in cell["ours"])


def _best(cells: list[tuple[Cell, Cell]], when: str) -> float:
    """The mean over seeds of the best setting of each; -1 where the rival has none."""
    return statistics.mean(max((score for _, score in _scores(cell, when)), default=-1.0) for _, cell in cells)


def _scores(cell: Cell, when: str) -> Iterator[tuple[str, float]]:
    for name, found in cell["rivals"].items():
        if "fails" not in found:
            yield name, found[when]


def _leads(cell: Cell, when: str) -> bool:
    return bool("fails" not in cell["ours"] and all(cell["ours"][when] >= score for _, score in _scores(cell, when)))


def _behind(rows: Mapping[str, Cell]) -> Iterator[tuple[str, str]]:
    for key, row in rows.items():
        for cell in row["cells"]:
            for when in ("before", "after"):
                if "fails" in cell["ours"]:
                    yield f"{key}, {cell['speedup']:g}×", cell["ours"]["fails"]
                elif not _leads(cell, when):
                    name, score = max(_scores(cell, when), key=lambda pair: pair[1])
                    yield (
                        f"{key}, {cell['speedup']:g}×, {when} finetuning",
                        f"{name} {score:.3f}, ours {cell['ours'][when]:.3f}",
                    )
