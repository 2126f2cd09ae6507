"""A recipe for several budgets: the dense model trained and profiled once, then a run per budget, and the front.

Each budget has a run of its own in a sub-folder (``2x``, ``8ms``), which takes over the shared stages' outputs and can
be continued by itself. The front is over the finetuned networks: latency against the task's metric.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console

from deploy_prune.count import count
from deploy_prune.errors import UnreachableBudgetError
from deploy_prune.pipeline.front_files import FRONT, count_met, write_front
from deploy_prune.pipeline.front_points import describe_dense, describe_run, describe_unreachable
from deploy_prune.pipeline.handover import (
    COMPARISON,
    DENSE_MODEL,
    DENSE_ONNX,
    DENSE_TIMING,
    DIGITS,
    METRICS,
    read_records,
)
from deploy_prune.pipeline.latency_budget import Budget, mildest_first
from deploy_prune.pipeline.recipe import write_recipe
from deploy_prune.pipeline.run import make_stages, run_recipe
from deploy_prune.pipeline.runner import Stage, StageContext, run_stages, stage_keys
from deploy_prune.pipeline.settings import RunSettings
from deploy_prune.pipeline.store import RunStore
from deploy_prune.pipeline.summary import flatten_conditions
from deploy_prune.report.front import SCHEMA, DensePoint, Front, FrontPoint, PhaseTime, read_front
from deploy_prune.report.result import MetricStep, MetricValue, ProfileName
from deploy_prune.runtime.timing import Timing

SHARED = ("data", "train", "sparse", "baseline", "profile")
"""Stages that no budget changes, as far as a recipe has them."""


def run_budgets(runs: Mapping[Budget, RunSettings], folder: Path, console: Console) -> Front:
    """Bring the runs of all budgets up to date, and return the front over them.

    Args:
        runs: by budget the settings, which differ in the budget only.
        folder: of the shared stages and the front; each budget has a folder below it.
        console: as in ``run_recipe``.

    Raises:
        InputError: a folder cannot be written or is in use, or what the recipe names cannot be used.
    """
    store, settings = RunStore(folder), next(iter(runs.values()))
    stages, facts = make_stages(settings), settings.facts()
    with store.locked():
        write_recipe(settings.recipe, store.folder / "recipe.yaml")
        run_stages(stages, facts, store, console, only=SHARED)
        timing = Timing.from_dict(json.loads((store.folder / DENSE_TIMING).read_text(encoding="utf-8")))
        keys, points = stage_keys(stages, facts), []
        for budget in mildest_first(tuple(runs), timing.median_s):
            console.rule(f"budget {budget.name}", align="left")
            points.append(_run_budget(budget, runs[budget], store, keys, timing.median_s, console))
        console.rule(align="left")
        front = _make_front(settings, store, timing, tuple(points))
        _keep_front(front, store, console)
        return read_front(store.folder / FRONT)


def _run_budget(
    budget: Budget, settings: RunSettings, shared: RunStore, keys: Mapping[str, str], dense_s: float, console: Console
) -> FrontPoint:
    """One budget's run, in its sub-folder, as a point of the front."""
    store = RunStore(shared.folder / budget.name)
    with store.locked():
        for stage in keys.keys() & set(SHARED):
            store.adopt(stage, keys[stage], shared)
    try:
        result = run_recipe(settings, store.folder, console)
    except UnreachableBudgetError as error:
        console.print(str(error), highlight=False, soft_wrap=True)
        return describe_unreachable(budget, error, dense_s, ())
    spent = _durations(store, [stage.name for stage in make_stages(settings) if stage.name not in SHARED])
    written_s = (store.folder / COMPARISON).stat().st_mtime
    measured_at = datetime.datetime.fromtimestamp(written_s, datetime.timezone.utc).isoformat(timespec="seconds")
    return describe_run(budget, result, dense_s, spent, measured_at)


def _make_front(settings: RunSettings, store: RunStore, timing: Timing, points: tuple[FrontPoint, ...]) -> Front:
    dense = _describe_dense(settings, store, timing)
    assert dense.metric is not None
    return Front(
        schema=SCHEMA,
        model=settings.recipe.model,
        profile=ProfileName(settings.profile.name, settings.machine.fingerprint),
        conditions=flatten_conditions(timing.conditions),
        loss_name=f"{dense.metric.name} of the dense model less that of the pruned one, finetuned",
        dense=dense,
        points=points,
        spent=_durations(store, SHARED),
    )


def _describe_dense(settings: RunSettings, store: RunStore, timing: Timing) -> DensePoint:
    task = settings.task(store.folder / DIGITS)
    counted = count(task.load(store.folder / DENSE_MODEL), task.example_inputs())
    steps = read_records(store.output("baseline") / METRICS, MetricStep)
    judged = next(step for step in steps if step.form == "onnx")
    point = describe_dense(timing, counted, store.folder / DENSE_ONNX)
    return dataclasses.replace(point, metric=MetricValue(judged.name, judged.value))


def _keep_front(front: Front, store: RunStore, console: Console) -> None:
    """Write the front as a stage that depends on all that it shows."""

    def write(context: StageContext) -> str:
        write_front(front, context.out)
        return count_met(front)

    run_stages([Stage("front", write, ("front",))], {"front": dataclasses.asdict(front)}, store, console)


def _durations(store: RunStore, stages: tuple[str, ...] | list[str]) -> tuple[PhaseTime, ...]:
    records = [store.record(stage) for stage in stages]
    return tuple(PhaseTime(record.stage, record.duration_s) for record in records if record is not None)
