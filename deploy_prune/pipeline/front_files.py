"""The files of a front: front.json, front.md, front.csv and its pictures."""

from pathlib import Path

from deploy_prune.report.front import Front
from deploy_prune.report.front_plots import draw_front_plots
from deploy_prune.report.front_table import front_csv, front_page

FRONT = Path("front/front.json")


def write_front(front: Front, folder: Path) -> None:
    """Write all of them into an existing folder.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    (folder / FRONT.name).write_text(front.to_json(), encoding="utf-8")
    (folder / "front.md").write_text(front_page(front), encoding="utf-8")
    (folder / "front.csv").write_text(front_csv(front), encoding="utf-8")
    draw_front_plots(front, folder)


def count_met(front: Front) -> str:
    """``2 of 3 budgets met``."""
    return f"{sum(point.met for point in front.points)} of {len(front.points)} budgets met"
