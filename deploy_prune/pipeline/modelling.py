"""The stages that make, judge and write models: data, train, baseline, prune, finetune, export."""

import dataclasses
import hashlib
from pathlib import Path

from torch import nn

from deploy_prune.count import count
from deploy_prune.errors import InputError
from deploy_prune.export.parity import check_parity
from deploy_prune.pipeline.device import write_json
from deploy_prune.pipeline.handover import (
    DENSE_MODEL,
    DENSE_ONNX,
    DENSE_TIMING,
    DIGITS,
    FINETUNED_MODEL,
    METRICS,
    PARITY,
    PLAN,
    PRUNED_MODEL,
    RECOVERED_MODEL,
    SPARSE_MODEL,
    START_MODEL,
    write_records,
)
from deploy_prune.pipeline.processes import train_in_processes
from deploy_prune.pipeline.recipe import Recipe
from deploy_prune.pipeline.recipe_sections import FinetuneRecipe
from deploy_prune.pipeline.runner import StageContext
from deploy_prune.pipeline.settings import RunSettings
from deploy_prune.pipeline.task_choice import embedded_format
from deploy_prune.pruner.plan import Plan
from deploy_prune.pruner.surgery import apply_plan
from deploy_prune.pruner.verify import verify
from deploy_prune.report.figures import count as shown
from deploy_prune.report.figures import milliseconds, ratio
from deploy_prune.report.result import MetricStep
from deploy_prune.runtime.measure import measure
from deploy_prune.tasks.task import Task


def open_task(settings: RunSettings, context: StageContext) -> Task:
    """The task on the data of this run."""
    return settings.task(context.output_file(DIGITS))


def pruned_onnx(settings: RunSettings) -> Path:
    """Where the export stage puts the deliverable."""
    return Path("export") / f"{settings.recipe.name}_pruned.onnx"


def start_model(recipe: Recipe) -> Path:
    """What the budget's plan is applied to: the dense model, or what stages in between made of it."""
    if "prepare" not in recipe.stages_left_out:
        return START_MODEL
    return DENSE_MODEL if "sparse" in recipe.stages_left_out else SPARSE_MODEL


def write_data(settings: RunSettings, context: StageContext) -> str:
    """Write the embedded images, or look whether the user's own can be read."""
    data = settings.recipe.data
    if data.name is None:
        task = open_task(settings, context)
        task.calibration_inputs(1)
        images, there = settings.recovery_images(task), task.training_images()
        if images > there:
            raise InputError(f"recover.images is {images}, and {data.path} has {there} training images; ask for fewer")
        return f"your own data set {data.path}"
    from deploy_prune.datasets.write import write_digits

    write_digits(
        embedded_format(settings.recipe),
        context.out / DIGITS.name,
        train=data.train,
        val=data.val,
        image_size=data.image_size,
        seed=data.seed,
        progress=context.progress,
    )
    return f"{data.train} training and {data.val} validation images of {data.image_size} pixels"


def write_dense(settings: RunSettings, context: StageContext) -> str:
    """Build the dense model and train it."""
    task, epochs = open_task(settings, context), settings.recipe.train.epochs
    model = task.build()
    if epochs and settings.recipe.train.processes > 1:
        model = train_in_processes(task, model, settings.recipe.train, context)
    elif epochs:
        model = task.train(model, context.work, epochs=epochs, progress=context.progress)
    task.save(model, context.out / DENSE_MODEL.name)
    params = shown(sum(parameter.numel() for parameter in model.parameters()))
    return f"{settings.recipe.model}, {params} parameters, " + (f"{epochs} epochs" if epochs else "as given")


def write_baseline(settings: RunSettings, context: StageContext) -> str:
    """Judge and export the dense model, and time it alone."""
    task = open_task(settings, context)
    model = task.load(context.output_file(DENSE_MODEL))
    onnx = task.export_onnx(model, context.out / DENSE_ONNX.name)
    steps = [judge(task, model, "baseline"), judge(task, onnx, "baseline")]
    write_records(context.out / METRICS, steps)
    timing = measure(onnx, settings.profile)
    write_json(context.out / DENSE_TIMING.name, timing.to_dict())
    return f"{task.metric_name} {steps[-1].value:.3f}, {milliseconds(1e3 * timing.median_s)}"


def write_pruned(settings: RunSettings, context: StageContext) -> str:
    """Remove what the plan removes, and prove that nothing else changed."""
    task, plan = open_task(settings, context), Plan.load(context.output_file(PLAN))
    whole = task.load(context.output_file(start_model(settings.recipe)))
    pruned, inputs = apply_plan(whole, plan), task.example_inputs()
    verification = verify(whole, pruned, plan, inputs, output_transform=task.kept_output)
    task.save(pruned, context.out / PRUNED_MODEL.name)
    step = judge(task, pruned, "prune")
    write_records(context.out / METRICS, [step])
    before, after = count(whole, inputs), count(pruned, inputs)
    fewer = f"{ratio(before.macs / after.macs)} fewer MACs"
    left = f"{shown(after.params)} of {shown(before.params)} parameters"
    return f"{fewer}, {left}, verified to {verification.eval_error or 0:.0e}, {task.metric_name} {step.value:.3f}"


def write_finetuned(settings: RunSettings, context: StageContext) -> str:
    """Retrain the pruned model as it is; no channel comes back. What retraining made worse stays as it was."""
    task, finetune = open_task(settings, context), settings.recipe.finetune
    model = task.load(context.output_file(RECOVERED_MODEL))
    step = judge(task, model, "finetune")
    said = f"{task.metric_name} {step.value:.3f} after {finetune.epochs} epochs"
    if finetune.epochs:
        tuned = _finetune(task, model, finetune, context)
        after = judge(task, tuned, "finetune")
        said = f"{task.metric_name} {after.value:.3f} after {finetune.epochs} epochs"
        if after.value >= step.value:
            model, step = tuned, after
        else:
            said += f", {step.value:.3f} before them: the network before them stays"
    task.save(model, context.out / FINETUNED_MODEL.name)
    write_records(context.out / METRICS, [step])
    return said


def _finetune(task: Task, model: nn.Module, finetune: FinetuneRecipe, context: StageContext) -> nn.Module:
    dense = context.output_file(DENSE_MODEL) if finetune.distil else None
    if finetune.processes > 1:
        return train_in_processes(task, model, finetune, context, dense)
    teacher = task.load(dense) if dense else None
    return task.finetune(model, context.work, epochs=finetune.epochs, teacher=teacher, progress=context.progress)


def write_export(settings: RunSettings, context: StageContext) -> str:
    """Export the pruned model and compare it with the PyTorch module on real images."""
    task, recipe = open_task(settings, context), settings.recipe
    model = task.load(context.output_file(FINETUNED_MODEL))
    plan = Plan.load(context.output_file(PLAN))
    about = {"plan_sha256": plan.checksum, "profile": settings.profile.name, "source": recipe.model}
    onnx = task.export_onnx(model, context.out / pruned_onnx(settings).name, metadata=about)
    parity = check_parity(model, onnx, task.calibration_inputs(recipe.export.parity_images))
    write_json(context.out / PARITY.name, dataclasses.asdict(parity))
    step = judge(task, onnx, "export")
    write_records(context.out / METRICS, [step])
    digest = hashlib.sha256(onnx.read_bytes()).hexdigest()
    onnx.with_suffix(".onnx.sha256").write_text(f"{digest}  {onnx.name}\n", encoding="ascii")
    return f"{onnx.name}, {task.metric_name} {step.value:.3f}, off PyTorch by {parity.max_abs:.1e} at most"


def judge(task: Task, model: nn.Module | Path, stage: str) -> MetricStep:
    """Evaluate a model that a stage made."""
    metric = task.evaluate(model)
    return MetricStep(stage, "onnx" if isinstance(model, Path) else "pytorch", metric.name, metric.value)
