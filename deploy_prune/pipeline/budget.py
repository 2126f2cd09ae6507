"""Prune a model until it meets a latency budget on the device: profile, search, measure, correct, search again."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

import torch
from rich.progress import Progress
from torch import nn

from deploy_prune.export.onnx import export_onnx
from deploy_prune.hardware.availability import require_searchable
from deploy_prune.hardware.profile import HardwareProfile, load_profile
from deploy_prune.importance import Importance
from deploy_prune.importance.calibration import Calibration, Loss
from deploy_prune.importance.named import criterion_named
from deploy_prune.pipeline.device import Export
from deploy_prune.pipeline.latency_budget import Budget
from deploy_prune.pipeline.latency_result import LatencyResult
from deploy_prune.pipeline.latency_search import LatencySearch, Subject
from deploy_prune.pipeline.limits import Limits
from deploy_prune.runtime.hosts import find_host
from deploy_prune.store import MeasurementStore

if TYPE_CHECKING:
    from typing_extensions import Unpack  # typing has it from Python 3.11 on


def prune_to_latency(
    model: nn.Module,
    example_inputs: torch.Tensor,
    *,
    profile: str | Path | HardwareProfile = "cpu-onnxruntime",
    latency_ms: float | None = None,
    speedup: float | None = None,
    limits: Limits | None = None,
    importance: Importance | str | None = None,
    ignored_layers: Iterable[nn.Module] = (),
    calibration: torch.Tensor | Sequence[Any] | None = None,
    loss_fn: Loss | None = None,
    export: Export | None = None,
    output_transform: Callable[[Any], Any] | None = None,
    remove_branches: bool = False,
    store: Path | None = None,
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
        limits: what the pruned model keeps besides: latency under further profiles, MACs, parameters, file size, memory
            (see ``deploy_prune.Limits``).
        importance: criterion for the units of a group, an object or one of l1, l2, taylor, fisher, hessian (default:
            L2 magnitude). Those of gradients get them on the calibration data.
        ignored_layers: layers whose output channels stay.
        calibration: real inputs, shape (n, …), or batches as ``loss_fn`` takes them; with them a width costs what the
            model loses on them, without them the importance that it removes.
        loss_fn: ``loss_fn(model, batch)``, the mean loss of a batch; without it the change of the outputs counts.
        export: ``export(module, path) -> path`` of an ONNX file (default: ``export.onnx.export_onnx``).
        output_transform: picks from the model's output what must keep its shape.
        remove_branches: whether whole residual branches may go, so that the network gets shallower.
        store: the SQLite file of measurements, by which an interrupted call continues and a later one is quicker
            (default: the user's, see ``deploy_prune.store``).
        progress: shows what is under way.

    Raises:
        InputError: both or none of the budgets, one that is no speed-up, or a profile that cannot be searched here.
        UnreachableBudgetError: the fastest plan is slower than the budget, or the limits cannot be kept together; said
            before anything is trained, with what is in the way and what is reachable.
        ForwardError, MeasurementError, VerificationError: see their classes.
    """
    budget = Budget.of(latency_ms=latency_ms, speedup=speedup)
    profile = profile if isinstance(profile, HardwareProfile) else load_profile(profile)
    with tempfile.TemporaryDirectory() as folder:
        search = open_search(
            model,
            example_inputs,
            profile,
            Path(folder),
            limits=limits,
            importance=importance,
            ignored_layers=ignored_layers,
            calibration=calibration,
            loss_fn=loss_fn,
            export=export,
            output_transform=output_transform,
            remove_branches=remove_branches,
            store=store,
            progress=progress,
        )
        search.loop.clock.take()  # a result has the time of its budget alone
        return search.prune(budget, progress)


class SearchOptions(TypedDict, total=False):
    """Arguments of :func:`prune_to_latency` that do not depend on the budget."""

    limits: Limits | None
    importance: Importance | str | None
    ignored_layers: Iterable[nn.Module]
    calibration: torch.Tensor | Sequence[Any] | None
    loss_fn: Loss | None
    export: Export | None
    output_transform: Callable[[Any], Any] | None
    remove_branches: bool
    store: Path | None
    progress: Progress | None


def open_search(
    model: nn.Module,
    example_inputs: torch.Tensor,
    profile: HardwareProfile,
    folder: Path,
    **options: Unpack[SearchOptions],
) -> LatencySearch:
    """The search for any number of budgets; ``folder`` holds files while it is used. Raises as prune_to_latency."""
    require_searchable(profile, find_host(profile))
    limits, importance = options.get("limits"), options.get("importance")
    data, transform = options.get("calibration"), options.get("output_transform")
    for other in limits.also if limits else ():
        other.load()  # mistakes before the model is looked at
    subject = Subject(
        model,
        example_inputs,
        options.get("export") or (lambda m, path: export_onnx(m, example_inputs, path)),
        importance=criterion_named(importance) if isinstance(importance, str) else importance,
        ignored_layers=options.get("ignored_layers", ()),
        calibration=None if data is None else Calibration.of(data, options.get("loss_fn"), transform),
        output_transform=transform,
        remove_branches=options.get("remove_branches", False),
    )
    store = MeasurementStore(options.get("store"))
    return LatencySearch.of(subject, profile, store, folder, options.get("progress"), limits)
