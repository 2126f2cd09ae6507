"""Prune a model until it meets a latency budget on the device: profile, search, measure, correct, search again."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from rich.progress import Progress
from torch import nn

from deploy_prune.count import Count, count
from deploy_prune.export.onnx import export_onnx
from deploy_prune.graph.units import FrozenGroup
from deploy_prune.hardware.availability import require_searchable
from deploy_prune.hardware.profile import HardwareProfile, load_profile
from deploy_prune.importance import Importance
from deploy_prune.latency.branches import branch_variants
from deploy_prune.latency.sampling import sample_widths
from deploy_prune.pipeline.closed_loop import Budget, Loop, Round
from deploy_prune.pipeline.device_step import find_step
from deploy_prune.pipeline.variants import Device, Export, profile_variants
from deploy_prune.pruner.plan import Plan
from deploy_prune.pruner.surgery import apply_plan
from deploy_prune.pruner.verify import Verification, verify
from deploy_prune.runtime.comparison import Comparison
from deploy_prune.runtime.measure import compare, measure
from deploy_prune.runtime.timing import Timing
from deploy_prune.search.loss import divergence_menu, importance_menu
from deploy_prune.search.menu import Menu
from deploy_prune.search.prunable import Prunable

VARIANTS = 28
"""Variants profiled before the first search (measured: fewer leave sizes undecoded, more cost time for little)."""


@dataclasses.dataclass(frozen=True, eq=False)
class LatencyResult:
    """A pruned model that meets a latency budget, and how it was found.

    Attributes:
        model: the pruned module, not yet finetuned; the dense one is untouched.
        plan: what was removed.
        budget_s: the latency allowed, in seconds.
        rounds: every plan that was measured, in order, with its predicted and measured seconds.
        dense, pruned: timings of both models, taken in turns; ``comparison`` has their ratio and its interval.
        dense_count, pruned_count: MACs and parameters.
        frozen: what could not be removed, and why.
        verification: errors of the oracle.
    """

    model: nn.Module
    plan: Plan
    budget_s: float
    rounds: tuple[Round, ...]
    comparison: Comparison
    dense_count: Count
    pruned_count: Count
    frozen: tuple[FrozenGroup, ...]
    verification: Verification

    @property
    def dense(self) -> Timing:
        """Timing of the dense model."""
        return self.comparison.baseline

    @property
    def pruned(self) -> Timing:
        """Timing of the pruned model."""
        return self.comparison.candidate


def prune_to_latency(
    model: nn.Module,
    example_inputs: torch.Tensor,
    *,
    profile: str | Path | HardwareProfile = "cpu-onnxruntime",
    latency_ms: float | None = None,
    speedup: float | None = None,
    importance: Importance | None = None,
    ignored_layers: Iterable[nn.Module] = (),
    calibration: torch.Tensor | None = None,
    export: Export | None = None,
    output_transform: Callable[[Any], Any] | None = None,
    remove_branches: bool = False,
    work_dir: Path | None = None,
    progress: Progress | None = None,
) -> LatencyResult:
    """Prune a model to a latency budget, measured on the device of a hardware profile.

    Example::

        result = deploy_prune.prune_to_latency(model, torch.randn(1, 3, 224, 224), speedup=2)
        result.model, result.rounds, result.comparison.speedup

    Args:
        model: a trained module; it is left as it is.
        example_inputs: one input batch of the shape that is deployed.
        profile: name, file or object of a hardware profile.
        latency_ms: the latency allowed; or
        speedup: the dense model's latency divided by this. Exactly one of the two.
        importance: criterion for the units of a group (default: L2 magnitude).
        ignored_layers: layers whose output channels stay.
        calibration: real inputs, shape (n, …); with them a width costs what it changes at the output, without them
            the importance that it removes.
        export: ``export(module, path) -> path`` of an ONNX file (default: ``export.onnx.export_onnx``).
        output_transform: picks from the model's output what must keep its shape.
        remove_branches: whether whole residual branches may go, so that the network gets shallower.
        work_dir: where measurements are kept, so that an interrupted call continues (default: a temporary folder).
        progress: shows what is under way.

    Raises:
        InputError: both or none of the budgets, one that is no speed-up, or a profile that cannot be searched here.
        UnreachableBudgetError: the fastest plan is slower than the budget; said before anything is trained.
        ForwardError, MeasurementError, VerificationError: see their classes.
    """
    budget = Budget.of(latency_ms=latency_ms, speedup=speedup)
    profile = profile if isinstance(profile, HardwareProfile) else load_profile(profile)
    require_searchable(profile)
    prunable = Prunable.of(
        model,
        example_inputs,
        importance=importance,
        ignored_layers=ignored_layers,
        output_transform=output_transform,
        remove_branches=remove_branches,
    )
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(work_dir or temporary)
        export = export or (lambda m, path: export_onnx(m, example_inputs, path))
        dense = export(model, folder / "dense.onnx")
        device = Device(profile, export, dense, measure(dense, profile).median_s, folder)
        samples = profile_variants(prunable, design_variants(prunable, device), device, progress)
        menu = price_widths(prunable, device, calibration, output_transform, progress)
        rounds, best = Loop(prunable, device, menu, samples).search(budget, progress)
        plan = prunable.plan(best.widths)
        pruned = apply_plan(model, plan)
        verification = verify(model, pruned, plan, example_inputs, output_transform=output_transform)
        comparison = compare(dense, export(pruned, folder / "pruned.onnx"), profile)
    return LatencyResult(
        model=pruned,
        plan=plan,
        budget_s=best.budget_s,
        rounds=rounds,
        comparison=comparison,
        dense_count=count(model, example_inputs),
        pruned_count=count(pruned, example_inputs),
        frozen=prunable.graph.frozen,
        verification=verification,
    )


def design_variants(prunable: Prunable, device: Device, variants: int = VARIANTS) -> tuple[Mapping[str, int], ...]:
    """Which widths to profile: the dense model first, then a design on its steps, then some without branches."""
    step = find_step(device.profile, device.folder)
    menu = {group: [w for w in widths if w] for group, widths in prunable.menu_widths(step).items()}
    return (*sample_widths(menu, variants), *branch_variants(prunable.full_widths, prunable.branches))


def price_widths(
    prunable: Prunable,
    device: Device,
    calibration: torch.Tensor | None,
    output_transform: Callable[[Any], Any] | None = None,
    progress: Progress | None = None,
) -> Menu:
    """The loss of every width on the device's steps: measured on ``calibration`` if given, else importance."""
    widths = prunable.menu_widths(find_step(device.profile, device.folder))
    if calibration is None:
        return importance_menu(prunable, widths)
    bar = progress.add_task("price widths", total=len(widths)) if progress else None

    def advance() -> None:
        if progress and bar is not None:
            progress.advance(bar)

    return divergence_menu(prunable, widths, calibration, output_transform=output_transform, advance=advance)
