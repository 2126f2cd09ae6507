"""The stage between pruning and finetuning: recovery without training."""

from __future__ import annotations

from pathlib import Path

from rich.progress import Progress
from torch import nn

from deploy_prune.pipeline.handover import (
    METRICS,
    PLAN,
    PRUNED_MODEL,
    RECOVERED_MODEL,
    RECOVERY,
    write_records,
)
from deploy_prune.pipeline.modelling import judge, open_task, start_model
from deploy_prune.pipeline.runner import StageContext
from deploy_prune.pipeline.settings import RunSettings
from deploy_prune.pruner.plan import Plan
from deploy_prune.recovery import Recovered, Step, recover
from deploy_prune.recovery.recover import Tick
from deploy_prune.report.result import MetricStep, RecoveryStep
from deploy_prune.tasks.task import Task

BATCH = 8
"""Images to a batch: eight batches of the usual 64 images, of which two judge."""
MIN_BATCHES = 4


def write_recovered(settings: RunSettings, context: StageContext) -> str:
    """Win back what can be without training, and judge the model anew."""
    task = open_task(settings, context)
    images = settings.recovery_images(task)
    model = task.load(context.output_file(PRUNED_MODEL))
    if not images:
        _write(task, model, (), (), context.out)
        return "switched off"
    whole, plan = task.load(context.output_file(start_model(settings.recipe))), Plan.load(context.output_file(PLAN))
    found = recover_by(task, whole, model, plan, images, context.progress)
    judged = judge(task, found.model, "recover")
    _write(task, found.model, found.steps, (judged,), context.out)
    kept = ", ".join(step.name for step in found.steps if step.kept) or "nothing helped"
    return f"{judged.name} {judged.value:.3f} without training, by {kept}"


def recover_by(
    task: Task, whole: nn.Module, pruned: nn.Module, plan: Plan, images: int, progress: Progress
) -> Recovered:
    """What recovery makes of a pruned network on this many of the task's training images."""
    batches = task.calibration_batches(images, max(1, min(BATCH, images // MIN_BATCHES)))
    return recover(whole, pruned, plan, batches, task.loss, tick=_shown_on(progress))


def _write(task: Task, model: nn.Module, steps: tuple[Step, ...], judged: tuple[MetricStep, ...], out: Path) -> None:
    write_records(out / RECOVERY.name, map(describe_step, steps))
    write_records(out / METRICS, judged)
    task.save(model, out / RECOVERED_MODEL.name)


def describe_step(step: Step) -> RecoveryStep:
    """A step as reports tell of it."""
    fitted = sum(layer.kept for layer in step.layers)
    return RecoveryStep(step.name, step.before, step.after, step.kept, fitted, len(step.layers))


def _shown_on(progress: Progress) -> Tick:
    """A bar for each step of recovery."""
    bars = {}

    def tick(step: str, done: int, total: int) -> None:
        if step not in bars:
            bars[step] = progress.add_task(step, total=total)
        progress.update(bars[step], completed=done)

    return tick
