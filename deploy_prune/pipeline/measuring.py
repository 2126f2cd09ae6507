"""The stages that measure and search: profile, search, benchmark."""

import json
from pathlib import Path

from deploy_prune.count import count
from deploy_prune.pipeline import closed_loop
from deploy_prune.pipeline.device import Device, profile_variants, write_json
from deploy_prune.pipeline.handover import (
    COMPARISON,
    COUNTS,
    DENSE_MODEL,
    DENSE_ONNX,
    DENSE_TIMING,
    FINETUNED_MODEL,
    FROZEN,
    LAYERS,
    PLAN,
    ROUNDS,
    VARIANTS,
    WIDTHS,
    write_records,
)
from deploy_prune.pipeline.latency_budget import Budget
from deploy_prune.pipeline.latency_search import design_variants, price_widths
from deploy_prune.pipeline.layers import LayerNames
from deploy_prune.pipeline.modelling import open_task, pruned_onnx
from deploy_prune.pipeline.runner import StageContext
from deploy_prune.pipeline.settings import RunSettings
from deploy_prune.pipeline.summary import summarise_rounds
from deploy_prune.report.figures import milliseconds, ratio
from deploy_prune.report.result import FrozenChannels, Width
from deploy_prune.runtime.measure import compare, profile_nodes
from deploy_prune.runtime.timing import Timing
from deploy_prune.search.prunable import Prunable
from deploy_prune.store import MeasurementStore


def write_profile(settings: RunSettings, context: StageContext) -> str:
    """Profile pruned variants of the dense model on the device; each is kept as soon as it is measured."""
    prunable, device = _open_device(settings, context)
    samples = profile_variants(prunable, design_variants(prunable, device), device, context.progress)
    write_json(context.out / VARIANTS.name, [dict(sample.widths) for sample in samples])
    nodes = sum(len(sample.nodes) for sample in samples)
    return f"{len(samples)} variants of {len(prunable.full_widths)} groups, {nodes} node times"


def write_plan(settings: RunSettings, context: StageContext) -> str:
    """Search the widths that lose least within the budget, measuring every plan tried."""
    task, recipe = open_task(settings, context), settings.recipe
    prunable, device = _open_device(settings, context)
    samples = profile_variants(prunable, design_variants(prunable, device), device)  # from the store
    images = recipe.search.calibration_images
    calibration = task.calibration_inputs(images) if images else None
    menu = price_widths(prunable, device, calibration, task.kept_output, context.progress)
    loop = closed_loop.Loop(prunable, device, menu, samples)
    budget = Budget.of(latency_ms=recipe.budget.latency_ms, speedup=recipe.budget.speedup)
    found = loop.search(budget, context.progress)
    _write_search(context.out, prunable, found)
    measured_ms, budget_ms = 1e3 * found.best.measured_s, 1e3 * found.best.budget_s
    figure = f"{milliseconds(measured_ms)} of {milliseconds(budget_ms)} allowed, in {len(found.rounds)} rounds"
    return f"{figure}; {found.note}" if found.note else figure


def _write_search(folder: Path, prunable: Prunable, found: closed_loop.Search) -> None:
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
    task = open_task(settings, context)
    dense, pruned = (task.load(context.output_file(path)) for path in (DENSE_MODEL, FINETUNED_MODEL))
    nodes = [profile_nodes(path, settings.profile).nodes for path in (dense_onnx, onnx)]
    write_records(context.out / LAYERS.name, LayerNames(dense).layer_times(*nodes))
    counts = [count(model, task.example_inputs()) for model in (dense, pruned)]
    write_records(context.out / COUNTS.name, counts)
    interval = f"[{comparison.low:.2f}, {comparison.high:.2f}]"
    return f"{ratio(comparison.speedup)} speed-up {interval}, {comparison.verdict}"


def _open_device(settings: RunSettings, context: StageContext) -> tuple[Prunable, Device]:
    task = open_task(settings, context)
    model = task.load(context.output_file(DENSE_MODEL))
    prunable = Prunable.of(
        model,
        task.example_inputs(),
        importance=settings.importance(),
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
    )
