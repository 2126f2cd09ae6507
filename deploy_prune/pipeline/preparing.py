"""The stages that change what is pruned before the search: sparse training, and milder budgets.

Each milder budget prunes what the one before left and finetunes it; padded with zeros to the dense shape, the network
then goes on to the next. So plans and measurements are those of the dense model, whatever was trained in between.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from torch import nn

from deploy_prune.pipeline.device import write_json
from deploy_prune.pipeline.handover import DENSE_MODEL, METRICS, SPARSE_MODEL, START_MODEL, START_WIDTHS, write_records
from deploy_prune.pipeline.latency_budget import Budget
from deploy_prune.pipeline.limits import Limits
from deploy_prune.pipeline.modelling import judge, open_task
from deploy_prune.pipeline.recovering import recover_by
from deploy_prune.pipeline.runner import StageContext
from deploy_prune.pipeline.searching import budget_of, open_device, open_loop
from deploy_prune.pipeline.settings import RunSettings
from deploy_prune.pipeline.sparse import SparseTraining
from deploy_prune.pruner.padding import pad_to_dense
from deploy_prune.pruner.plan import Plan
from deploy_prune.pruner.surgery import apply_plan
from deploy_prune.report.result import MetricStep


def write_sparse(settings: RunSettings, context: StageContext) -> str:
    """Train the dense model on, under a penalty that drives units towards zero."""
    task, sparse = open_task(settings, context), settings.recipe.sparse
    model = task.load(context.output_file(DENSE_MODEL))
    regularizer = SparseTraining(sparse.kind, sparse.strength, task.example_inputs(), task.kept_output)
    model = task.finetune(model, context.work, epochs=sparse.epochs, regularizer=regularizer, progress=context.progress)
    task.save(model, context.out / SPARSE_MODEL.name)
    step = judge(task, model, "sparse")
    write_records(context.out / METRICS, [step])
    return f"{step.name} {step.value:.3f} after {sparse.epochs} epochs with {sparse.kind} of {sparse.strength:g}"


def write_start(settings: RunSettings, context: StageContext) -> str:
    """Prune to the budgets before the last, and finetune after each."""
    task, recipe = open_task(settings, context), settings.recipe
    model = task.load(context.output_file(SPARSE_MODEL if recipe.sparse.epochs else DENSE_MODEL))
    widths, judged = dict[str, int](), []
    for budget in milder_budgets(budget_of(settings), open_device(settings, context).dense_s, recipe.schedule.steps):
        model, widths, step = _go_to(budget, model, widths, settings, context)
        judged.append(step)
    task.save(model, context.out / START_MODEL.name)
    write_json(context.out / START_WIDTHS.name, widths)
    write_records(context.out / METRICS, judged)
    return f"{judged[0].name} " + ", ".join(f"{step.value:.3f} at {step.stage.split()[-1]}" for step in judged)


def milder_budgets(budget: Budget, dense_s: float, steps: int) -> list[Budget]:
    """The budgets before the last: speed-ups in equal ratios, ``steps - 1`` of them."""
    speedup = dense_s / budget.in_seconds(dense_s)
    return [Budget(speedup=round(speedup ** (k / steps), 3)) for k in range(1, steps)]


def _go_to(
    budget: Budget, model: nn.Module, widths: Mapping[str, int], settings: RunSettings, context: StageContext
) -> tuple[nn.Module, dict[str, int], MetricStep]:
    """Prune to a budget, recover and finetune; the network in the dense shape, its widths and its score."""
    task, recipe, folder = open_task(settings, context), settings.recipe, context.work / budget.name
    folder.mkdir(parents=True, exist_ok=True)
    plan, found = _plan_for(budget, model, widths, settings, context, folder)
    pruned = apply_plan(model, plan)
    if images := settings.recovery_images(task):
        pruned = recover_by(task, model, pruned, plan, images, context.progress).model
    if epochs := recipe.schedule.epochs:
        teacher = task.load(context.output_file(DENSE_MODEL)) if recipe.finetune.distil else None
        pruned = task.finetune(pruned, folder, epochs=epochs, teacher=teacher, progress=context.progress)
    step = judge(task, pruned, f"prepare {budget.name}")
    return pad_to_dense(pruned, model, plan), found, step


def _plan_for(
    budget: Budget,
    model: nn.Module,
    widths: Mapping[str, int],
    settings: RunSettings,
    context: StageContext,
    folder: Path,
) -> tuple[Plan, dict[str, int]]:
    """The plan and its widths; a run that goes on finds those that were searched before."""
    kept, file = folder / "widths.json", folder / "plan.json"
    if not kept.exists():
        budgets = settings.recipe.budget  # its sizes are for the last plan, its rules about widths for each
        limits = Limits(min_width=budgets.min_width, equal_widths=budgets.equal_widths)
        loop = open_loop(settings, context, model, widths, limits)
        best = loop.search(budget, context.progress).best
        loop.prunable.plan(best.widths).save(file)
        write_json(kept, dict(best.widths))
    return Plan.load(file), json.loads(kept.read_text(encoding="utf-8"))
