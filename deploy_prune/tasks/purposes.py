"""The kinds of dense prediction by name, and their data, looked through once."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from rich.progress import Progress

from deploy_prune.tasks.detection import Detection
from deploy_prune.tasks.purpose import Purpose, Samples
from deploy_prune.tasks.semantic import Semantic

PURPOSES: Mapping[str, Purpose] = {one.name: one for one in (Semantic(), Detection(), Detection(masks=True))}


@dataclass(frozen=True, eq=False)
class Unseen:
    """A progress display that is no part of what is read: all are equal."""

    progress: Progress | None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Unseen)

    def __hash__(self) -> int:
        return 0


@lru_cache(maxsize=4)
def read_once(task: str, folder: Path, shown: Unseen) -> Samples:
    """The data, looked through once per process: every picture is decoded for it."""
    return PURPOSES[task].read(folder, shown.progress)
