"""Prune a model to several latency budgets: profiled and priced once, searched and measured per budget."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from rich.progress import Progress
from torch import nn

from deploy_prune.count import count
from deploy_prune.errors import UnreachableBudgetError
from deploy_prune.hardware.profile import HardwareProfile, load_profile
from deploy_prune.pipeline.budget import SearchOptions, open_search
from deploy_prune.pipeline.front_points import describe_dense, describe_result, describe_unreachable, now_utc
from deploy_prune.pipeline.latency_budget import Budget, mildest_first, refuse_repeated
from deploy_prune.pipeline.latency_result import LatencyResult
from deploy_prune.pipeline.latency_search import LatencySearch
from deploy_prune.pipeline.summary import flatten_conditions
from deploy_prune.report.front import SCHEMA, Front, FrontPoint, FurtherDevice
from deploy_prune.report.result import ProfileName
from deploy_prune.runtime.hosts import find_host
from deploy_prune.runtime.timing import Timing

if TYPE_CHECKING:
    from typing_extensions import Unpack  # typing has it from Python 3.11 on

IMPORTANCE_LOSS = "share of importance removed times share of the MACs, summed over groups"
CALIBRATION_LOSS = "root of the loss on calibration data, summed over groups"


@dataclass(frozen=True, eq=False)
class PrunedFront:
    """A front with the pruned models behind it.

    ``results[i]`` belongs to ``front.points[i]``, mildest budget first; None where the budget is unreachable.
    """

    front: Front
    results: tuple[LatencyResult | None, ...]


def prune_to_latencies(
    model: nn.Module,
    example_inputs: torch.Tensor,
    *,
    speedups: Sequence[float] = (),
    latencies_ms: Sequence[float] = (),
    profile: str | Path | HardwareProfile = "cpu-onnxruntime",
    **options: Unpack[SearchOptions],
) -> PrunedFront:
    """Prune a model to several latency budgets, measured on the device of a hardware profile.

    Example::

        found = deploy_prune.prune_to_latencies(model, torch.randn(1, 3, 224, 224), speedups=(1.5, 2, 3))
        [(point.asked, point.share, point.met) for point in found.front.points]

    Args:
        model: a trained module; it is left as it is.
        example_inputs: one input batch of the shape that is deployed.
        speedups: budgets as the dense model's latency divided by these.
        latencies_ms: budgets in milliseconds.
        profile: name, file or object of a hardware profile.
        options: ``limits``, ``importance``, ``ignored_layers``, ``calibration``, ``loss_fn``, ``export``,
            ``output_transform``, ``remove_branches``, ``store`` and ``progress`` as in
            :func:`deploy_prune.prune_to_latency`.

    Raises:
        InputError: no budget, one given twice or that is none, or a profile that cannot be searched here.
        ForwardError, MeasurementError, VerificationError: see their classes.
    """
    asked = (*({"speedup": value} for value in speedups), *({"latency_ms": value} for value in latencies_ms))
    budgets = refuse_repeated([Budget.of(**one) for one in asked])
    profile = profile if isinstance(profile, HardwareProfile) else load_profile(profile)
    with tempfile.TemporaryDirectory() as folder:
        search = open_search(model, example_inputs, profile, Path(folder), **options)
        spent, dense_s = search.loop.clock.take(), search.dense.median_s
        found = [
            prune_or_explain(search, budget, options.get("progress")) for budget in mildest_first(budgets, dense_s)
        ]
        dense = describe_dense(search.dense, count(model, example_inputs), search.loop.device.dense)
    front = Front(
        schema=SCHEMA,
        model=type(model).__name__,
        profile=ProfileName(profile.name, find_host(profile).machine.fingerprint),
        conditions=flatten_conditions(search.dense.conditions),
        loss_name=IMPORTANCE_LOSS if options.get("calibration") is None else CALIBRATION_LOSS,
        dense=dense,
        points=tuple(point for point, _ in found),
        spent=spent,
        also=describe_further(
            (one.device.profile, timing) for one, timing in zip(search.loop.others, search.dense_also, strict=True)
        ),
    )
    return PrunedFront(front, tuple(result for _, result in found))


def describe_further(devices: Iterable[tuple[HardwareProfile, Timing]]) -> tuple[FurtherDevice, ...]:
    """Further devices with the dense model's timing on each."""
    found = []
    for profile, timing in devices:
        name = ProfileName(profile.name, find_host(profile).machine.fingerprint)
        found.append(FurtherDevice(name, flatten_conditions(timing.conditions), 1e3 * timing.median_s))
    return tuple(found)


def prune_or_explain(
    search: LatencySearch, budget: Budget, progress: Progress | None = None, folder: str = ""
) -> tuple[FrontPoint, LatencyResult | None]:
    """The point of a budget with its result; an unreachable budget is a point that says so, without a result.

    Raises:
        MeasurementError, VerificationError: see their classes.
    """
    dense_s = search.loop.device.dense_s
    also_s = {one.device.profile.name: one.device.dense_s for one in search.loop.others}
    try:
        result = search.prune(budget, progress)
    except UnreachableBudgetError as error:
        return describe_unreachable(budget, error, dense_s, search.loop.clock.take(), now_utc()), None
    return describe_result(budget, result, dense_s, search.onnx_file(budget), folder, also_s), result
