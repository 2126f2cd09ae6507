"""The stages that measure the end: benchmark and alternatives."""

import json

from deploy_prune.count import count
from deploy_prune.pipeline.alternatives import (
    INT8_IMAGES,
    as_alternative,
    int8_versions,
    lower_resolutions,
    measure_alternatives,
    smaller_networks,
)
from deploy_prune.pipeline.device import write_json
from deploy_prune.pipeline.explaining import explain_comparison
from deploy_prune.pipeline.handover import (
    ALTERNATIVES,
    COMPARISON,
    COUNTS,
    DENSE_MODEL,
    DENSE_ONNX,
    EXPLANATION,
    FINETUNED_MODEL,
    LAYERS,
    METRICS,
    OTHER_COMPARISONS,
    read_records,
    write_records,
    write_value,
)
from deploy_prune.pipeline.layers import LayerNames
from deploy_prune.pipeline.modelling import open_task, pruned_onnx
from deploy_prune.pipeline.runner import StageContext
from deploy_prune.pipeline.searching import budget_of
from deploy_prune.pipeline.settings import RunSettings
from deploy_prune.report.alternatives import Alternative
from deploy_prune.report.figures import ratio
from deploy_prune.report.result import MetricStep
from deploy_prune.runtime.comparison import Comparison
from deploy_prune.runtime.measure import compare, profile_nodes
from deploy_prune.store import MeasurementStore


def write_benchmark(settings: RunSettings, context: StageContext) -> str:
    """Compare the deliverable with the dense model by turns, and profile the layers of both."""
    dense_onnx, onnx = context.output_file(DENSE_ONNX), context.output_file(pruned_onnx(settings))
    comparison = compare(dense_onnx, onnx, settings.profile, null_test=True)
    write_json(context.out / COMPARISON.name, comparison.to_dict())
    others = [compare(dense_onnx, onnx, other).to_dict() for other in settings.others]
    write_json(context.out / OTHER_COMPARISONS.name, others)
    task = open_task(settings, context)
    dense, pruned = (task.load(context.output_file(path)) for path in (DENSE_MODEL, FINETUNED_MODEL))
    profiles = [profile_nodes(path, settings.profile) for path in (dense_onnx, onnx)]
    names = LayerNames(dense)
    write_records(context.out / LAYERS.name, names.layer_times(*(profile.nodes for profile in profiles)))
    explanation = explain_comparison(
        (dense_onnx, onnx), (profiles[0], profiles[1]), comparison, names, settings.profile, MeasurementStore()
    )
    write_value(context.out / EXPLANATION.name, explanation)
    counts = [count(model, task.example_inputs()) for model in (dense, pruned)]
    write_records(context.out / COUNTS.name, counts)
    interval = f"[{comparison.low:.2f}, {comparison.high:.2f}]"
    return f"{ratio(comparison.speedup)} speed-up {interval}, {comparison.verdict}"


def write_alternatives(settings: RunSettings, context: StageContext) -> str:
    """Measure what could be deployed instead, if the recipe asks for it; what was pruned is the first of them."""
    found: tuple[Alternative, ...] = ()
    if settings.recipe.alternatives:
        task, dense_onnx = open_task(settings, context), context.output_file(DENSE_ONNX)
        dense = task.load(context.output_file(DENSE_MODEL))
        budget = budget_of(settings)
        candidates = [*lower_resolutions(task, dense, settings.profile), *smaller_networks(task, settings.profile)]
        if settings.profile.file_precision == "fp32":  # else the dense file is in that precision itself
            images = task.calibration_inputs(INT8_IMAGES)
            candidates += int8_versions(dense_onnx, images, lambda file: task.evaluate(file).value)
        compared = Comparison.from_dict(json.loads(context.output_file(COMPARISON).read_text(encoding="utf-8")))
        score = read_records(context.output("export") / METRICS, MetricStep)[-1].value
        note = f"finetuned for {settings.recipe.finetune.epochs} epochs"
        found = (
            as_alternative("pruned", "pruned", compared, budget, score, note),
            *measure_alternatives(candidates, dense_onnx, settings.profile, budget, context.work, context.progress),
        )
    write_records(context.out / ALTERNATIVES.name, found)
    return f"{len(found)} measured, {sum(one.met for one in found)} meet the budget" if found else "not asked for"
