"""A model profiled and priced on a device, ready to be pruned to any number of latency budgets."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from rich.progress import Progress
from torch import nn

from deploy_prune.count import count
from deploy_prune.hardware.profile import HardwareProfile
from deploy_prune.importance import Importance
from deploy_prune.importance.calibration import Calibration
from deploy_prune.latency.branches import branch_variants
from deploy_prune.latency.sampling import sample_widths
from deploy_prune.pipeline.closed_loop import Budget, Loop, OtherDevice
from deploy_prune.pipeline.device import Device, Export
from deploy_prune.pipeline.device_step import find_step
from deploy_prune.pipeline.latency_result import LatencyResult
from deploy_prune.pipeline.limits import Limits, size_limits, sizes_kept
from deploy_prune.pipeline.profiling import profile_variants
from deploy_prune.pruner.surgery import apply_plan
from deploy_prune.pruner.verify import verify
from deploy_prune.runtime.measure import compare, measure
from deploy_prune.search.loss import importance_menu
from deploy_prune.search.menu import Menu, restrict
from deploy_prune.search.pricing import POINTS, measured_menu
from deploy_prune.search.prunable import Prunable
from deploy_prune.store import MeasurementStore

VARIANTS = 28
"""Variants profiled before the first search, at most (see ``deploy_prune.pipeline.profiling``)."""


@dataclasses.dataclass(frozen=True, eq=False)
class Subject:
    """What is pruned, and how: the arguments of a search that do not depend on the device.

    Attributes:
        model: a trained module; it is left as it is.
        example_inputs: one input batch of the shape that is deployed.
        export: ``export(module, path) -> path`` of an ONNX file.
        importance: criterion for the units of a group (None: L2 magnitude).
        ignored_layers: layers whose output channels stay.
        calibration: real data on which a width costs what the model loses, and on which criteria of gradients take
            them; None: a width costs the importance that it removes.
        output_transform: picks from the model's output what must keep its shape.
        remove_branches: whether whole residual branches may go.
    """

    model: nn.Module
    example_inputs: torch.Tensor
    export: Export
    importance: Importance | None = None
    ignored_layers: Iterable[nn.Module] = ()
    calibration: Calibration | None = None
    output_transform: Callable[[Any], Any] | None = None
    remove_branches: bool = False


@dataclasses.dataclass(frozen=True, eq=False)
class LatencySearch:
    """The tables and the menu of one model on one device; each budget costs a search and the measurements of its plans.

    Attributes:
        subject: what is pruned.
        loop: the closed loop with everything measured so far.
        folder: for ONNX files.
    """

    subject: Subject
    loop: Loop
    folder: Path

    @classmethod
    def of(
        cls,
        subject: Subject,
        profile: HardwareProfile,
        store: MeasurementStore,
        folder: Path,
        progress: Progress | None = None,
        limits: Limits | None = None,
    ) -> LatencySearch:
        """Analyse the model, profile its variants on every device that has a budget, and price its widths.

        Raises:
            InputError: nothing can be removed, a profile cannot be measured under, or limits name unknown groups.
            ForwardError, ExportError, MeasurementError: see their classes.
        """
        prunable = Prunable.of(
            subject.model,
            subject.example_inputs,
            importance=subject.importance,
            calibration=subject.calibration,
            ignored_layers=subject.ignored_layers,
            output_transform=subject.output_transform,
            remove_branches=subject.remove_branches,
        )
        limits = limits or Limits()
        dense = subject.export(subject.model, folder / "dense.onnx")
        model_name = type(subject.model).__name__
        device = Device(profile, subject.export, dense, measure(dense, profile).median_s, store, folder, model_name)
        samples = profile_variants(prunable, design_variants(prunable, device), device, progress)
        others = []
        for one in limits.also:
            other = dataclasses.replace(device, profile=one.load(), dense_s=measure(dense, one.load()).median_s)
            seen = profile_variants(prunable, design_variants(prunable, other), other, progress)
            others.append(OtherDevice(other, seen, one.budget))
        menu = price_widths(prunable, device, subject.calibration, progress)
        menu = restrict(menu, min_width=limits.min_width, equal=limits.equal_widths)
        counted = count(subject.model, subject.example_inputs) if limits.needs_macs else None
        sizes = size_limits(limits, prunable, menu, device, counted)
        return cls(subject, Loop(prunable, device, menu, samples, tuple(others), sizes), folder)

    def prune(self, budget: Budget, progress: Progress | None = None) -> LatencyResult:
        """The pruned model that keeps a budget, proved by the oracle and measured against the dense one.

        Raises:
            UnreachableBudgetError: the fastest plan is slower than the budget.
            VerificationError, MeasurementError: see their classes.
        """
        subject, loop = self.subject, self.loop
        rounds, best = loop.search(budget, progress)
        plan = loop.prunable.plan(best.widths)
        pruned = apply_plan(subject.model, plan)
        verification = verify(
            subject.model, pruned, plan, subject.example_inputs, output_transform=subject.output_transform
        )
        onnx = subject.export(pruned, self.folder / "pruned.onnx")
        return LatencyResult(
            model=pruned,
            plan=plan,
            budget_s=best.budget_s,
            rounds=rounds,
            chosen=best,
            floor=loop.account()[1],
            comparison=compare(loop.device.dense, onnx, loop.device.profile),
            also={one.device.profile.name: compare(one.device.dense, onnx, one.device.profile) for one in loop.others},
            sizes=sizes_kept(loop.limits, best.widths),
            dense_count=count(subject.model, subject.example_inputs),
            pruned_count=count(pruned, subject.example_inputs),
            frozen=loop.prunable.graph.frozen,
            verification=verification,
        )


def design_variants(prunable: Prunable, device: Device, variants: int = VARIANTS) -> tuple[Mapping[str, int], ...]:
    """Which widths to profile: the dense model first, then a design on its steps, then some without branches."""
    step = find_step(device.profile, device.store)
    menu = {group: [w for w in widths if w] for group, widths in prunable.menu_widths(step).items()}
    return (*sample_widths(menu, variants), *branch_variants(prunable.full_widths, prunable.branches))


def price_widths(
    prunable: Prunable,
    device: Device,
    calibration: Calibration | None,
    progress: Progress | None = None,
) -> Menu:
    """The loss of every width on the device's steps: measured on ``calibration`` if given, else importance."""
    widths = prunable.menu_widths(find_step(device.profile, device.store))
    if calibration is None:
        return importance_menu(prunable, widths, count(prunable.model, prunable.example_inputs))
    bar = progress.add_task("price widths", total=POINTS + 1) if progress else None

    def advance() -> None:
        if progress and bar is not None:
            progress.advance(bar)

    return measured_menu(prunable, widths, calibration, advance=advance).menu
