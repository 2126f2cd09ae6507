"""The stages that measure and search: profile, search, benchmark."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

from deploy_prune.count import count
from deploy_prune.pipeline.alternatives import (
    INT8_IMAGES,
    as_alternative,
    int8_versions,
    lower_resolutions,
    measure_alternatives,
    smaller_networks,
)
from deploy_prune.pipeline.closed_loop import Loop
from deploy_prune.pipeline.device import Device, write_json
from deploy_prune.pipeline.device_aim import OtherDevice
from deploy_prune.pipeline.explaining import explain_comparison
from deploy_prune.pipeline.handover import (
    ACCOUNT,
    ALTERNATIVES,
    COMPARISON,
    COUNTS,
    DENSE_MODEL,
    DENSE_ONNX,
    DENSE_TIMING,
    EXPLANATION,
    FINETUNED_MODEL,
    FROZEN,
    LAYERS,
    METRICS,
    OTHER_COMPARISONS,
    OTHERS,
    PLAN,
    ROUNDS,
    SIZES,
    VARIANTS,
    WIDTHS,
    read_records,
    write_records,
    write_value,
)
from deploy_prune.pipeline.latency_budget import Budget
from deploy_prune.pipeline.latency_search import design_variants, price_widths
from deploy_prune.pipeline.layers import LayerNames
from deploy_prune.pipeline.limits import Limits, size_limits, sizes_kept
from deploy_prune.pipeline.modelling import open_task, pruned_onnx
from deploy_prune.pipeline.profiling import profile_variants
from deploy_prune.pipeline.rounds import Search
from deploy_prune.pipeline.runner import StageContext
from deploy_prune.pipeline.settings import RunSettings
from deploy_prune.pipeline.summary import report_account, summarise_rounds
from deploy_prune.report.alternatives import Alternative
from deploy_prune.report.figures import milliseconds, ratio
from deploy_prune.report.result import FrozenChannels, MetricStep, Width
from deploy_prune.runtime.comparison import Comparison
from deploy_prune.runtime.measure import compare, measure, profile_nodes
from deploy_prune.runtime.timing import Timing
from deploy_prune.search.menu import restrict
from deploy_prune.search.prunable import Prunable
from deploy_prune.store import MeasurementStore


def write_profile(settings: RunSettings, context: StageContext) -> str:
    """Profile pruned variants of the dense model on the device; each is kept as soon as it is measured."""
    prunable, device = _open_device(settings, context)
    samples = profile_variants(prunable, design_variants(prunable, device), device, context.progress)
    write_json(context.out / VARIANTS.name, [dict(sample.widths) for sample in samples])
    dense_s = [measure(device.dense, other).median_s for other in settings.others]
    write_json(context.out / OTHERS.name, dense_s)
    for other in _other_devices(settings, device, dense_s):
        profile_variants(prunable, design_variants(prunable, other), other, context.progress)
    nodes = sum(len(sample.nodes) for sample in samples)
    return f"{len(samples)} variants of {len(prunable.full_widths)} groups, {nodes} node times"


def write_plan(settings: RunSettings, context: StageContext) -> str:
    """Search the widths that lose least within the budget, measuring every plan tried."""
    task, recipe = open_task(settings, context), settings.recipe
    prunable, device = _open_device(settings, context)
    samples = profile_variants(prunable, design_variants(prunable, device), device)  # from the store
    menu = price_widths(prunable, device, settings.calibration(task), context.progress)
    limits = Limits(**recipe.budget.sizes())
    menu = restrict(menu, min_width=limits.min_width, equal=limits.equal_widths)
    counted = count(prunable.model, task.example_inputs()) if limits.needs_macs else None
    others = _further_budgets(settings, context, prunable, device)
    loop = Loop(prunable, device, menu, samples, others, size_limits(limits, prunable, menu, device, counted))
    budget = Budget.of(latency_ms=recipe.budget.latency_ms, speedup=recipe.budget.speedup)
    found = loop.search(budget, context.progress)
    _write_search(context.out, prunable, found)
    write_records(context.out / SIZES.name, sizes_kept(loop.limits, found.best.widths))
    write_value(context.out / ACCOUNT.name, report_account(*loop.account()))
    measured_ms, budget_ms = 1e3 * found.best.measured_s, 1e3 * found.best.budget_s
    figure = f"{milliseconds(measured_ms)} of {milliseconds(budget_ms)} allowed, in {len(found.rounds)} rounds"
    return f"{figure}; {found.note}" if found.note else figure


def _write_search(folder: Path, prunable: Prunable, found: Search) -> None:
    best = found.best
    prunable.plan(best.widths).save(folder / PLAN.name)
    write_records(folder / ROUNDS.name, summarise_rounds(found.rounds, best))
    frozen = [FrozenChannels(one.name, f"{one.reason} (at {one.place})") for one in prunable.graph.frozen]
    write_records(folder / FROZEN.name, frozen)
    widths = [Width(name, full, best.widths.get(name, full)) for name, full in prunable.full_widths.items()]
    write_records(folder / WIDTHS.name, widths)


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


def _other_devices(settings: RunSettings, device: Device, dense_s: Sequence[float]) -> list[Device]:
    """The devices of further budgets, given the dense model's latency on each."""
    pairs = zip(settings.others, dense_s, strict=True)
    return [dataclasses.replace(device, profile=profile, dense_s=seconds) for profile, seconds in pairs]


def _further_budgets(
    settings: RunSettings, context: StageContext, prunable: Prunable, device: Device
) -> tuple[OtherDevice, ...]:
    """The devices of further budgets with what the stage before measured on them."""
    dense_s = json.loads(context.output_file(OTHERS).read_text(encoding="utf-8"))
    found = []
    for asked, other in zip(settings.recipe.budget.also, _other_devices(settings, device, dense_s), strict=True):
        samples = profile_variants(prunable, design_variants(prunable, other), other)  # from the store
        budget = Budget.of(latency_ms=asked.latency_ms, speedup=asked.speedup)
        found.append(OtherDevice(other, samples, budget))
    return tuple(found)


def write_alternatives(settings: RunSettings, context: StageContext) -> str:
    """Measure what could be deployed instead, if the recipe asks for it; what was pruned is the first of them."""
    found: tuple[Alternative, ...] = ()
    if settings.recipe.alternatives:
        task, dense_onnx = open_task(settings, context), context.output_file(DENSE_ONNX)
        dense = task.load(context.output_file(DENSE_MODEL))
        wanted = settings.recipe.budget
        budget = Budget.of(latency_ms=wanted.latency_ms, speedup=wanted.speedup)
        candidates = [
            *lower_resolutions(task, dense),
            *smaller_networks(task),
            *int8_versions(dense_onnx, task.calibration_inputs(INT8_IMAGES), lambda file: task.evaluate(file).value),
        ]
        compared = Comparison.from_dict(json.loads(context.output_file(COMPARISON).read_text(encoding="utf-8")))
        score = read_records(context.output("export") / METRICS, MetricStep)[-1].value
        note = f"finetuned for {settings.recipe.finetune.epochs} epochs"
        found = (
            as_alternative("pruned", "pruned", compared, budget, score, note),
            *measure_alternatives(candidates, dense_onnx, settings.profile, budget, context.work, context.progress),
        )
    write_records(context.out / ALTERNATIVES.name, found)
    return f"{len(found)} measured, {sum(one.met for one in found)} meet the budget" if found else "not asked for"


def _open_device(settings: RunSettings, context: StageContext) -> tuple[Prunable, Device]:
    task = open_task(settings, context)
    model = task.load(context.output_file(DENSE_MODEL))
    prunable = Prunable.of(
        model,
        task.example_inputs(),
        importance=settings.importance(),
        calibration=settings.calibration(task),
        output_transform=task.kept_output,
        remove_branches=settings.recipe.search.remove_branches,
    )
    timing = Timing.from_dict(json.loads(context.output_file(DENSE_TIMING).read_text(encoding="utf-8")))
    return prunable, Device(
        profile=settings.profile,
        export=task.export_onnx,
        dense=context.output_file(DENSE_ONNX),
        dense_s=timing.median_s,
        store=MeasurementStore(),
        folder=context.work,
        model_name=settings.recipe.model,
    )
