"""One job of a sweep: a model pruned to all its budgets on one device, or by one plan on several.

A job is run by a process of its own, which this file is the program of, or by a Ray worker; its result is the front
in its folder, written whole. What was done before is skipped, so that a job that was ended goes on where it was.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pydantic
import yaml
from rich.console import Console

from deploy_prune.errors import DeployPruneError
from deploy_prune.hardware.profile import HardwareProfile
from deploy_prune.pipeline.latency_budget import parse_budgets
from deploy_prune.pipeline.recipe_sections import Section

if TYPE_CHECKING:
    from deploy_prune.pipeline.settings import RunSettings

FRONT = Path("front/front.json")
TRAINED = {"data", "train", "sparse"}
"""The stages of a recipe that do not depend on the device."""
REFUSED = 2
"""Exit code of a job's process that an error of the package ended; its message is the last line."""


class FleetModel(Section):
    """A model as ``deploy-prune prune`` takes it, or a recipe that trains one; a bare text is a ``source``.

    ``name`` is that of its folder and in the table, where the source's own would not do.
    """

    source: str | None = None
    recipe: str | None = None
    name: str | None = None
    image_size: int | None = pydantic.Field(default=None, ge=1)
    task: str = "detect"
    calibration: str | None = None
    importance: str = "l2"
    remove_branches: bool = False

    @pydantic.model_validator(mode="before")
    @classmethod
    def _bare_source(cls, value: Any) -> Any:
        return {"source": value} if isinstance(value, str) else value

    @pydantic.model_validator(mode="after")
    def _one_of_both(self) -> FleetModel:
        if (self.source is None) == (self.recipe is None):
            raise ValueError("give exactly one of 'source' (what `prune` takes) and 'recipe' (a recipe's file)")
        if self.recipe is not None and (others := self.model_fields_set - {"recipe", "name"}):
            raise ValueError(f"{', '.join(sorted(others))}: only for 'source'; a recipe says these itself")
        return self

    @property
    def label(self) -> str:
        """What the table calls it."""
        return self.name or self.source or Path(str(self.recipe)).stem

    @property
    def slug(self) -> str:
        """The name of its folder."""
        return re.sub(r"[^\w.-]+", "_", self.name or Path(str(self.source or Path(str(self.recipe)).stem)).name)


class FleetJob(Section):
    """What one process has to do; it saves to JSON.

    ``profiles``: the first is the front's own; the plan keeps each budget under the others too. ``folder`` gets the
    result; ``working_folder`` is where relative paths of the model begin.
    """

    model: FleetModel
    budgets: tuple[str, ...]
    profiles: tuple[HardwareProfile, ...]
    folder: str
    working_folder: str

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"{self.model.label} on {', '.join(profile.name for profile in self.profiles)}"

    @property
    def hosts(self) -> tuple[str | None, ...]:
        """The machines that it measures on, None for this one; each once."""
        return tuple(dict.fromkeys(profile.host for profile in self.profiles))

    @property
    def front(self) -> Path:
        """The file of the result."""
        return Path(self.folder) / FRONT


def run_job(job: FleetJob, console: Console) -> None:
    """Bring the job's folder up to date.

    Raises:
        DeployPruneError: what the job needs cannot be used, or it failed.
    """
    budgets, folder = parse_budgets(",".join(job.budgets)), Path(job.folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    if job.model.recipe is not None:
        _run_recipe(job, folder, console)
        return
    from deploy_prune.pipeline.prune import prune_named  # both import torch, which the sweep itself need not wait for
    from deploy_prune.pipeline.prune_request import PruneRequest

    model, (first, *others) = job.model, job.profiles
    request = PruneRequest(
        str(model.source), budgets, first, model.image_size, model.task,
        None if model.calibration is None else Path(model.calibration), model.importance, model.remove_branches,
        tuple(others),
    )  # fmt: skip
    prune_named(request, folder, console)


def _run_recipe(job: FleetJob, folder: Path, console: Console) -> None:
    """Run a recipe for all budgets; its profile is written beside the folder, which is where a recipe looks for it."""
    from deploy_prune.pipeline.budget_runs import run_budgets
    from deploy_prune.pipeline.recipe import read_recipe
    from deploy_prune.pipeline.settings import RunSettings

    profile = folder.with_name(f"{folder.name}.yaml")
    profile.write_text(yaml.safe_dump(job.profiles[0].model_dump(mode="json")), encoding="utf-8")
    runs = {}
    for budget in parse_budgets(",".join(job.budgets)):
        asked = {"budget.speedup": budget.speedup, "budget.latency_ms": budget.latency_ms, "profile": str(profile)}
        runs[budget] = RunSettings.of(read_recipe(Path(str(job.model.recipe)), asked))
    take_over_training(next(iter(runs.values())), folder)
    run_budgets(runs, folder, console)


def take_over_training(settings: RunSettings, folder: Path) -> None:
    """Take over the dense network from a job of the same recipe for another device: no device changes it."""
    from deploy_prune.pipeline.run import make_stages
    from deploy_prune.pipeline.runner import stage_keys
    from deploy_prune.pipeline.store import RunStore

    store, keys = RunStore(folder), stage_keys(make_stages(settings), settings.facts())
    others = [RunStore(lock.parent) for lock in sorted(folder.parent.glob("*/.lock")) if lock.parent != folder]
    with store.locked():
        for stage in TRAINED & keys.keys():
            trained = [other for other in others if other.find(stage, keys[stage]) is not None]
            if trained:
                store.adopt(stage, keys[stage], trained[0])


def main() -> None:
    """The process of a job: its first line of input is the job, and the end of its input ends it."""
    job = FleetJob.model_validate_json(sys.stdin.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        run_job(job, Console(width=160))
    except DeployPruneError as error:
        print(" ".join(str(error).split()), flush=True)
        sys.exit(REFUSED)
    except KeyboardInterrupt:
        sys.exit(130)


def _end_with_parent() -> None:
    """Interrupt this process, in order, when the one that started it is gone."""
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGINT)


if __name__ == "__main__":
    main()
