"""A model profiled and priced on a device, ready to be pruned to any number of latency budgets."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
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
from deploy_prune.pipeline.closed_loop import Loop
from deploy_prune.pipeline.device import Device, Export
from deploy_prune.pipeline.device_aim import OtherDevice
from deploy_prune.pipeline.device_step import find_step
from deploy_prune.pipeline.latency_budget import Budget
from deploy_prune.pipeline.latency_result import LatencyResult
from deploy_prune.pipeline.limits import Limits, size_limits, sizes_kept
from deploy_prune.pipeline.phases import (
    ANALYSIS,
    MEASURING,
    PRICING,
    PROFILING,
    RECOVERING,
    VERIFYING,
    WRITING,
    PhaseClock,
)
from deploy_prune.pipeline.profiling import profile_variants
from deploy_prune.pruner.surgery import apply_plan
from deploy_prune.pruner.verify import verify
from deploy_prune.recovery.calibrated import recover_on
from deploy_prune.runtime.measure import compare, measure
from deploy_prune.runtime.timing import Timing
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

    def prunable(self) -> Prunable:
        """The model analysed; ``InputError`` where nothing can be removed, ``ForwardError`` where it does not run."""
        return Prunable.of(
            self.model,
            self.example_inputs,
            importance=self.importance,
            calibration=self.calibration,
            ignored_layers=self.ignored_layers,
            output_transform=self.output_transform,
            remove_branches=self.remove_branches,
        )


@dataclasses.dataclass(frozen=True, eq=False)
class LatencySearch:
    """The tables and the menu of one model on one device; each budget costs a search and the measurements of its plans.

    Attributes:
        subject: what is pruned.
        dense: timing of the dense model; every latency is given at the speed of the machine during it.
        loop: the closed loop with everything measured so far.
        dense_also: the same timing on each further device of the loop.
    """

    subject: Subject
    dense: Timing
    loop: Loop
    dense_also: tuple[Timing, ...] = ()

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
        dense = subject.export(subject.model, folder / "dense.onnx")
        timing = measure(dense, profile)
        name = type(subject.model).__name__
        device = Device(profile, subject.export, dense, timing.median_s, store, folder, name)
        return cls.on(device, timing, subject, progress, limits)

    @classmethod
    def on(
        cls,
        device: Device,
        dense: Timing,
        subject: Subject,
        progress: Progress | None = None,
        limits: Limits | None = None,
        dense_also: Sequence[Timing] | None = None,
    ) -> LatencySearch:
        """The same on a device that has timed the dense model already; ``dense_also``: further devices have too.

        Raises:
            InputError, ForwardError, ExportError, MeasurementError: see :meth:`of`.
        """
        limits, clock = limits or Limits(), PhaseClock()
        with clock.phase(ANALYSIS):
            prunable = subject.prunable()
        with clock.phase(PROFILING):
            samples = profile_variants(prunable, design_variants(prunable, device), device, progress)
            profiles = [one.load() for one in limits.also]
            if dense_also is None:
                dense_also = [measure(device.dense, profile) for profile in profiles]
            others = tuple(
                _other_device(dataclasses.replace(device, profile=profile, dense_s=timing.median_s), one.budget,
                              prunable, progress)
                for one, profile, timing in zip(limits.also, profiles, dense_also, strict=True)
            )  # fmt: skip
        with clock.phase(PRICING):
            menu = price_widths(prunable, device, subject.calibration, progress)
            menu = restrict(menu, min_width=limits.min_width, equal=limits.equal_widths)
            counted = count(subject.model, subject.example_inputs) if limits.needs_macs else None
            sizes = size_limits(limits, prunable, menu, device, counted)
        loop = Loop(prunable, device, menu, samples, others, sizes, clock=clock)
        return cls(subject, dense, loop, tuple(dense_also))

    def asking(self, *also: Budget) -> LatencySearch:
        """This search, with all that it has measured, for other budgets on the further devices, in their order."""
        asked = zip(self.loop.others, also, strict=True)
        others = tuple(dataclasses.replace(one, budget=budget) for one, budget in asked)
        return dataclasses.replace(self, loop=dataclasses.replace(self.loop, others=others))

    def prune(self, budget: Budget, progress: Progress | None = None) -> LatencyResult:
        """The pruned model that keeps a budget, proved by the oracle and measured against the dense one.

        Raises:
            UnreachableBudgetError: the fastest plan is slower than the budget.
            VerificationError, MeasurementError: see their classes.
        """
        subject, loop = self.subject, self.loop
        found = loop.search(budget, progress)
        with loop.clock.phase(VERIFYING):
            plan = loop.prunable.plan(found.best.widths)
            pruned = apply_plan(subject.model, plan)
            verification = verify(
                subject.model, pruned, plan, subject.example_inputs, output_transform=subject.output_transform
            )
            counts = [count(model, subject.example_inputs) for model in (subject.model, pruned)]
        with loop.clock.phase(RECOVERING):
            recovered = recover_on(subject.model, pruned, plan, subject.calibration)
        pruned = pruned if recovered is None else recovered.model
        with loop.clock.phase(WRITING):
            onnx = subject.export(pruned, self.onnx_file(budget))
        with loop.clock.phase(MEASURING):
            comparison = compare(loop.device.dense, onnx, loop.device.profile)
        return LatencyResult(
            model=pruned,
            plan=plan,
            best=found.best,
            rounds=found.rounds,
            note=found.note,
            floor=loop.account()[1],
            comparison=comparison,
            also={one.device.profile.name: compare(one.device.dense, onnx, one.device.profile) for one in loop.others},
            sizes=sizes_kept(loop.limits, found.best.widths),
            dense_count=counts[0],
            pruned_count=counts[1],
            full_widths=loop.prunable.full_widths,
            frozen=loop.prunable.graph.frozen,
            verification=verification,
            recovered=recovered,
            spent=loop.clock.take(),
        )

    def onnx_file(self, budget: Budget) -> Path:
        """Where the pruned model of a budget lies once it was found."""
        return self.loop.device.folder / f"{budget.name}.onnx"


def _other_device(device: Device, budget: Budget, prunable: Prunable, progress: Progress | None) -> OtherDevice:
    """A further device that has a budget, with the variants profiled there."""
    samples = profile_variants(prunable, design_variants(prunable, device), device, progress)
    return OtherDevice(device, samples, budget)


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
