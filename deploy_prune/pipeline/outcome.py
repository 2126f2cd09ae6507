"""The last stage: what the stages before it found, as one Result, a page and pictures."""

import hashlib
import json
from pathlib import Path
from typing import Any

from deploy_prune.count import Count
from deploy_prune.pipeline.handover import (
    ACCOUNT,
    ALTERNATIVES,
    COMPARISON,
    COUNTS,
    DENSE_ONNX,
    EXPLANATION,
    EXPORTS,
    FINETUNED_MODEL,
    FROZEN,
    LAYERS,
    METRICS,
    OTHER_COMPARISONS,
    PARITY,
    PLAN,
    RECOVERY,
    REPORT,
    ROUNDS,
    SIZES,
    WIDTHS,
    read_records,
    read_value,
)
from deploy_prune.pipeline.modelling import pruned_onnx
from deploy_prune.pipeline.recipe_sections import AlsoRecipe, BudgetRecipe
from deploy_prune.pipeline.runner import StageContext
from deploy_prune.pipeline.settings import RunSettings
from deploy_prune.pipeline.summary import flatten_conditions, summarise_comparison, summarise_timing
from deploy_prune.report.advice import advise
from deploy_prune.report.alternatives import Alternative
from deploy_prune.report.explanation import Account, Explanation
from deploy_prune.report.exports import ExportedFile, from_row
from deploy_prune.report.page import write_page
from deploy_prune.report.plots import draw_plots
from deploy_prune.report.result import (
    SCHEMA,
    Artifact,
    BudgetOutcome,
    FrozenChannels,
    LayerTime,
    LimitOutcome,
    MetricStep,
    MetricValue,
    ParityCheck,
    ProfileName,
    RecoveryStep,
    Result,
    Round,
    Subject,
    Width,
)
from deploy_prune.runtime.comparison import Comparison
from deploy_prune.runtime.timing import Timing

JUDGING = ("baseline", "sparse", "prepare", "prune", "recover", "finetune", "export")
"""Stages after which a model's score is taken, as far as a recipe has them."""


def write_report(settings: RunSettings, context: StageContext) -> str:
    """Write report.json, report.md and the pictures."""
    result = collect_result(settings, context)
    (context.out / REPORT.name).write_text(result.to_json(), encoding="utf-8")
    (context.out / "report.md").write_text(write_page(result), encoding="utf-8")
    draw_plots(result, context.out)
    met = "met" if result.all_kept else "NOT met"
    return f"budget {met}, speed efficiency {result.speed_efficiency:.2f}"


def collect_result(settings: RunSettings, context: StageContext) -> Result:
    """Gather what the stages wrote."""
    recipe = settings.recipe
    comparison = Comparison.from_dict(_read(context.output_file(COMPARISON)))
    steps = [
        step
        for stage in JUDGING
        if stage not in recipe.stages_left_out
        for step in read_records(context.output(stage) / METRICS, MetricStep)
    ]
    dense, pruned = _subjects(settings, context, comparison, steps)
    speedup, mac_reduction = summarise_comparison(comparison), dense.macs / pruned.macs
    parity = _read(context.output_file(PARITY))
    budget = _judge_budget(settings.recipe.budget, comparison)
    explanation = read_value(context.output_file(EXPLANATION), Explanation)
    account = read_value(context.output_file(ACCOUNT), Account)
    return Result(
        schema=SCHEMA,
        model=recipe.model,
        task=recipe.task,
        profile=ProfileName(settings.profile.name, settings.machine.fingerprint),
        conditions=flatten_conditions(comparison.candidate.conditions),
        disturbances=comparison.candidate.conditions.contention.reasons,
        budget=budget,
        dense=dense,
        pruned=pruned,
        speedup=speedup,
        mac_reduction=mac_reduction,
        speed_efficiency=speedup.value / mac_reduction,
        metric_loss=dense.metric.value - pruned.metric.value,
        rounds=read_records(context.output_file(ROUNDS), Round),
        artifacts=_list_artifacts(settings, context),
        frozen=read_records(context.output_file(FROZEN), FrozenChannels),
        widths=read_records(context.output_file(WIDTHS), Width),
        layers=read_records(context.output_file(LAYERS), LayerTime),
        metric_steps=tuple(steps),
        parity=ParityCheck(parity["max_abs"], parity["mean_abs"], parity["inputs"]),
        limits=_judge_limits(settings, context),
        explanation=explanation,
        account=account,
        advice=advise(budget.latency_ms, explanation, account.floor),
        alternatives=read_records(context.output_file(ALTERNATIVES), Alternative),
        recovery=read_records(context.output_file(RECOVERY), RecoveryStep),
        exports=read_exports(settings, context),
    )


def _subjects(
    settings: RunSettings, context: StageContext, comparison: Comparison, steps: list[MetricStep]
) -> tuple[Subject, Subject]:
    counts = read_records(context.output_file(COUNTS), Count)

    def subject(timing: Timing, counted: Count, onnx: Path, stage: str) -> Subject:
        judged = next(step for step in steps if (step.stage, step.form) == (stage, "onnx"))
        return Subject(
            latency_ms=summarise_timing(timing),
            macs=counted.macs,
            params=counted.params,
            size_bytes=context.output_file(onnx).stat().st_size,
            metric=MetricValue(judged.name, judged.value),
        )

    return (
        subject(comparison.baseline, counts[0], DENSE_ONNX, "baseline"),
        subject(comparison.candidate, counts[1], pruned_onnx(settings), "export"),
    )


def _judge_budget(budget: BudgetRecipe | AlsoRecipe, comparison: Comparison) -> BudgetOutcome:
    if budget.latency_ms is not None:
        share = 1e3 * comparison.candidate.median_s / budget.latency_ms
        return BudgetOutcome(budget.latency_ms, None, share, met=share <= 1)
    assert budget.speedup is not None, "the recipe has exactly one of the two"
    share = budget.speedup / comparison.speedup
    allowed_ms = 1e3 * comparison.baseline.median_s / budget.speedup
    return BudgetOutcome(allowed_ms, budget.speedup, share, met=share <= 1)


def _judge_limits(settings: RunSettings, context: StageContext) -> tuple[LimitOutcome, ...]:
    """Latencies under further profiles, as measured at the end, then the sizes."""
    found = []
    others = zip(
        settings.others, settings.recipe.budget.also, _read(context.output_file(OTHER_COMPARISONS)), strict=True
    )
    for profile, asked, measured in others:
        outcome = _judge_budget(asked, Comparison.from_dict(measured))
        latency_ms = outcome.share * outcome.latency_ms
        found.append(LimitOutcome(f"latency under {profile.name}", latency_ms, outcome.latency_ms, "ms"))
    return (*found, *read_records(context.output_file(SIZES), LimitOutcome))


def _list_artifacts(settings: RunSettings, context: StageContext) -> tuple[Artifact, ...]:
    kinds = {"onnx": pruned_onnx(settings), "onnx, dense": DENSE_ONNX, "torch": FINETUNED_MODEL, "plan": PLAN}
    return tuple(
        Artifact(kind, path.as_posix(), hashlib.sha256(context.output_file(path).read_bytes()).hexdigest())
        for kind, path in kinds.items()
    )


def read_exports(settings: RunSettings, context: StageContext) -> tuple[ExportedFile, ...]:
    """The files in further formats and precisions, where the recipe asks for some."""
    if "formats" in settings.recipe.stages_left_out:
        return ()
    return tuple(from_row(row) for row in _read(context.output_file(EXPORTS))["files"])


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
