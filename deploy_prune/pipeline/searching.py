"""The stages that find the widths on the device: profile and search."""

import dataclasses
import json
from collections.abc import Mapping, Sequence

from torch import nn

from deploy_prune.count import count
from deploy_prune.latency.sample import VariantSample
from deploy_prune.pipeline.closed_loop import Loop
from deploy_prune.pipeline.device import Device, write_json
from deploy_prune.pipeline.device_aim import OtherDevice
from deploy_prune.pipeline.handover import (
    ACCOUNT,
    DENSE_MODEL,
    DENSE_ONNX,
    DENSE_TIMING,
    FROZEN,
    OTHERS,
    PLAN,
    ROUNDS,
    SIZES,
    START_WIDTHS,
    VARIANTS,
    WIDTHS,
    write_records,
    write_value,
)
from deploy_prune.pipeline.latency_budget import Budget
from deploy_prune.pipeline.latency_search import design_variants, price_widths
from deploy_prune.pipeline.limits import Limits, size_limits, sizes_kept
from deploy_prune.pipeline.modelling import open_task, start_model
from deploy_prune.pipeline.precise_export import VARIANT_INPUTS, precise_export
from deploy_prune.pipeline.profiling import profile_variants
from deploy_prune.pipeline.runner import StageContext
from deploy_prune.pipeline.settings import RunSettings
from deploy_prune.pipeline.summary import report_account, summarise_rounds
from deploy_prune.report.figures import milliseconds
from deploy_prune.report.result import FrozenChannels, Width
from deploy_prune.runtime.measure import measure
from deploy_prune.runtime.timing import Timing
from deploy_prune.search.menu import restrict
from deploy_prune.search.prunable import Prunable
from deploy_prune.store import MeasurementStore

Widths = Mapping[str, int]


def write_profile(settings: RunSettings, context: StageContext) -> str:
    """Profile pruned variants of the dense model on the device; each is kept as soon as it is measured."""
    device = open_device(settings, context)
    prunable = analyse(settings, context, open_task(settings, context).load(context.output_file(DENSE_MODEL)))
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
    model, start = open_task(settings, context).load(context.output_file(start_model(settings.recipe))), {}
    if settings.recipe.schedule.steps > 1:
        start = json.loads(context.output_file(START_WIDTHS).read_text(encoding="utf-8"))
    loop = open_loop(settings, context, model, start, Limits(**settings.recipe.budget.sizes()))
    loop = dataclasses.replace(loop, others=_further_budgets(settings, context, loop))
    found, prunable = loop.search(budget_of(settings), context.progress), loop.prunable
    best = found.best
    prunable.plan(best.widths).save(context.out / PLAN.name)
    write_records(context.out / ROUNDS.name, summarise_rounds(found.rounds, best))
    frozen = [FrozenChannels(one.name, f"{one.reason} (at {one.place})") for one in prunable.graph.frozen]
    write_records(context.out / FROZEN.name, frozen)
    widths = [Width(name, full, best.widths.get(name, full)) for name, full in prunable.full_widths.items()]
    write_records(context.out / WIDTHS.name, widths)
    write_records(context.out / SIZES.name, sizes_kept(loop.limits, best.widths))
    write_value(context.out / ACCOUNT.name, report_account(*loop.account()))
    measured_ms, budget_ms = 1e3 * best.measured_s, 1e3 * best.budget_s
    figure = f"{milliseconds(measured_ms)} of {milliseconds(budget_ms)} allowed, in {len(found.rounds)} rounds"
    return f"{figure}; {found.note}" if found.note else figure


def open_loop(settings: RunSettings, context: StageContext, model: nn.Module, start: Widths, limits: Limits) -> Loop:
    """The closed loop on the recipe's device, over the variants of the dense model that the stage before profiled.

    Args:
        settings: of the run.
        context: of the stage that searches.
        model: the dense model, or one of its shape that has lost units.
        start: widths of the groups that have.
        limits: sizes to keep, and rules about widths.
    """
    task = open_task(settings, context)
    device, prunable = open_device(settings, context), analyse(settings, context, model, start)
    menu = price_widths(prunable, device, settings.calibration(task), context.progress)
    menu = restrict(menu, min_width=limits.min_width, equal=limits.equal_widths, full=prunable.full_widths)
    counted = count(model, task.example_inputs()) if limits.needs_macs else None
    sizes = size_limits(limits, prunable, menu, device, counted)
    return Loop(prunable, device, menu, _profiled(prunable, device), limits=sizes)


def budget_of(settings: RunSettings) -> Budget:
    """The recipe's main budget."""
    return Budget.of(latency_ms=settings.recipe.budget.latency_ms, speedup=settings.recipe.budget.speedup)


def analyse(settings: RunSettings, context: StageContext, model: nn.Module, start: Widths | None = None) -> Prunable:
    """The model's groups, their units ranked as the recipe says."""
    task = open_task(settings, context)
    return Prunable.of(
        model,
        task.example_inputs(),
        importance=settings.importance(),
        calibration=settings.calibration(task),
        output_transform=task.kept_output,
        remove_branches=settings.recipe.search.remove_branches,
        start=start,
    )


def open_device(settings: RunSettings, context: StageContext) -> Device:
    """The device of the main budget, which has timed the dense model."""
    timing = Timing.from_dict(json.loads(context.output_file(DENSE_TIMING).read_text(encoding="utf-8")))
    task = open_task(settings, context)
    return Device(
        profile=settings.profile,
        export=precise_export(task.export_onnx, settings.profile, lambda: task.calibration_inputs(VARIANT_INPUTS)),
        dense=context.output_file(DENSE_ONNX),
        dense_s=timing.median_s,
        store=MeasurementStore(),
        folder=context.work,
        model_name=settings.recipe.model,
    )


def _other_devices(settings: RunSettings, device: Device, dense_s: Sequence[float]) -> list[Device]:
    """The devices of further budgets, given the dense model's latency on each."""
    pairs = zip(settings.others, dense_s, strict=True)
    return [dataclasses.replace(device, profile=profile, dense_s=seconds) for profile, seconds in pairs]


def _further_budgets(settings: RunSettings, context: StageContext, loop: Loop) -> tuple[OtherDevice, ...]:
    """The devices of further budgets with what the stage before measured on them."""
    dense_s = json.loads(context.output_file(OTHERS).read_text(encoding="utf-8"))
    found = []
    for asked, other in zip(settings.recipe.budget.also, _other_devices(settings, loop.device, dense_s), strict=True):
        budget = Budget.of(latency_ms=asked.latency_ms, speedup=asked.speedup)
        found.append(OtherDevice(other, _profiled(loop.prunable, other), budget))
    return tuple(found)


def _profiled(prunable: Prunable, device: Device) -> list[VariantSample]:
    """The variants of the dense model that the stage before has put into the store, wherever the search begins."""
    whole = dataclasses.replace(prunable, start={})
    return profile_variants(whole, design_variants(whole, device), device)
