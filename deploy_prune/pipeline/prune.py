"""Prune any named model to one or several latency budgets, without training: the stages of ``deploy-prune prune``.

With several profiles, one plan keeps the budget under each of them; the front is that of the first. A folder per
budget, each written whole: ``model.onnx``, ``plan.json`` and ``model.safetensors`` (``pruner.saved``), for
a YOLO ``model.pt``, ``report.json``, ``report.md`` and pictures; and the folder ``front`` over all of them.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from deploy_prune.count import Count, count
from deploy_prune.pipeline.device import Device, write_json
from deploy_prune.pipeline.explaining import explain_comparison
from deploy_prune.pipeline.front_files import FRONT, count_met, write_front
from deploy_prune.pipeline.front_points import describe_dense
from deploy_prune.pipeline.handover import read_records, read_value, write_records
from deploy_prune.pipeline.latency_budget import Budget, mildest_first
from deploy_prune.pipeline.latency_result import LatencyResult
from deploy_prune.pipeline.latency_search import LatencySearch
from deploy_prune.pipeline.layers import LayerNames
from deploy_prune.pipeline.limits import LatencyLimit, Limits
from deploy_prune.pipeline.prune_request import PruneRequest, PruneSubject
from deploy_prune.pipeline.rounds import Round
from deploy_prune.pipeline.runner import Stage, StageContext, run_stages
from deploy_prune.pipeline.settings import NEEDED, require_packages
from deploy_prune.pipeline.store import RunStore
from deploy_prune.pipeline.summary import flatten_conditions, report_account
from deploy_prune.pipeline.sweep import CALIBRATION_LOSS, IMPORTANCE_LOSS, describe_further, prune_or_explain
from deploy_prune.pruner.saved import save_pruned
from deploy_prune.report.advice import advise
from deploy_prune.report.figures import milliseconds
from deploy_prune.report.front import SCHEMA, Front, PhaseTime, PointExplanation, read_front, read_point
from deploy_prune.report.front_plots import draw_budget_plots
from deploy_prune.report.front_table import budget_line, budget_page
from deploy_prune.report.result import ProfileName
from deploy_prune.runtime.hosts import find_host
from deploy_prune.runtime.measure import measure, profile_nodes
from deploy_prune.runtime.timing import Timing
from deploy_prune.store import MeasurementStore

_DENSE = ("dense.onnx", "timing.json", "also.json", "count.json")
DENSE_ONNX, DENSE_TIMING, DENSE_ALSO, DENSE_COUNT = (Path("dense") / name for name in _DENSE)
SPENT = Path("profile/spent.json")
ONNX, POINT, ROUNDS = "model.onnx", "report.json", "rounds.json"  # in the folder of a budget


def prune_named(request: PruneRequest, folder: Path, console: Console) -> Front:
    """Bring ``folder`` up to date with the request and return the front over its budgets.

    What is done for the same model, device and settings is skipped; what was measured is in the user's store.

    Raises:
        InputError: the folder cannot be written or is in use, or what the request names cannot be used.
        MissingDependencyError, ForwardError, ExportError, MeasurementError, VerificationError: see their classes.
    """
    require_packages({package: why for package, why in NEEDED.items() if package != "ultralytics"})
    subject, store = request.open(), RunStore(folder)
    facts = subject.facts()
    with store.locked(), tempfile.TemporaryDirectory() as scratch:
        sweep = _Sweep(subject, store, Path(scratch))
        run_stages(sweep.stages(request.budgets), facts, store, console, only=["dense"])
        stages = sweep.stages(mildest_first(request.budgets, sweep.dense().median_s))
        run_stages(stages, facts, store, console, only=[stage.name for stage in stages[1:]])
        return read_front(store.folder / FRONT)


@dataclass(eq=False)
class _Sweep:
    """The stages of a call; the search is opened by the first that needs it and serves those after it."""

    subject: PruneSubject
    store: RunStore
    scratch: Path
    opened: LatencySearch | None = None

    def stages(self, budgets: tuple[Budget, ...]) -> list[Stage]:
        """In the order in which they run."""
        names = tuple(budget.name for budget in budgets)
        return [
            Stage("dense", self.write_dense, ("model", "device")),
            Stage("profile", self.write_profile, ("search",), ("dense",)),
            *(Stage(b.name, partial(self.write_budget, budgets, b), (b.name,), ("profile",)) for b in budgets),
            Stage("front", partial(self.write_front, names), ("model",), ("dense", "profile", *names)),
        ]

    def dense(self) -> Timing:
        """Timing of the dense model, once its stage is done."""
        return Timing.from_dict(json.loads((self.store.folder / DENSE_TIMING).read_text(encoding="utf-8")))

    def dense_also(self) -> tuple[Timing, ...]:
        """The same under each further profile."""
        if not self.subject.request.also:
            return ()
        kept = json.loads((self.store.folder / DENSE_ALSO).read_text(encoding="utf-8"))
        return tuple(map(Timing.from_dict, kept))

    def write_dense(self, context: StageContext) -> str:
        """Export the dense model and time it alone."""
        named = self.subject.named
        onnx = self.subject.export(named.module, context.out / DENSE_ONNX.name)
        counted = count(named.module, named.inputs)
        write_json(context.out / DENSE_COUNT.name, dataclasses.asdict(counted))
        timing = measure(onnx, self.subject.request.profile)
        write_json(context.out / DENSE_TIMING.name, timing.to_dict())
        also = [measure(onnx, profile).to_dict() for profile in self.subject.request.also]
        write_json(context.out / DENSE_ALSO.name, also)
        return f"{self.subject.request.source}, {milliseconds(1e3 * timing.median_s)}"

    def write_profile(self, context: StageContext) -> str:
        """Profile variants and price widths: what all budgets share."""
        search = self._open((), context.progress)
        spent = search.loop.clock.take()
        write_records(context.out / SPENT.name, spent)
        full = search.loop.prunable.full_widths
        return f"{len(search.loop.samples)} variants of {len(full)} groups"

    def write_budget(self, budgets: tuple[Budget, ...], budget: Budget, context: StageContext) -> str:
        """Search the widths of one budget, and write the model and its report."""
        before = budgets[: budgets.index(budget)]
        search = self._open(before, context.progress).asking(*[budget] * len(self.subject.request.also))
        point, result = prune_or_explain(search, budget, context.progress, folder=budget.name)
        if result is not None and point.pruned is not None:
            why = self._explain(search, budget, point.budget_ms, result)
            pruned = dataclasses.replace(point.pruned, why=why)
            point = dataclasses.replace(point, pruned=pruned)
            self._write_model(result, search.onnx_file(budget), context.out)
            write_json(context.out / ROUNDS, [dataclasses.asdict(one) for one in result.rounds])
            draw_budget_plots(pruned, context.out)
        (context.out / "report.md").write_text(budget_page(self.subject.request.source, point), encoding="utf-8")
        (context.out / POINT).write_text(point.to_json(), encoding="utf-8")
        return budget_line(point)

    def write_front(self, names: tuple[str, ...], context: StageContext) -> str:
        """Gather the budgets as one front."""
        request, timing = self.subject.request, self.dense()
        counted = Count(**json.loads(context.output_file(DENSE_COUNT).read_text(encoding="utf-8")))
        front = Front(
            schema=SCHEMA,
            model=request.source,
            profile=ProfileName(request.profile.name, find_host(request.profile).machine.fingerprint),
            conditions=flatten_conditions(timing.conditions),
            loss_name=IMPORTANCE_LOSS if request.calibration is None else CALIBRATION_LOSS,
            dense=describe_dense(timing, counted, context.output_file(DENSE_ONNX)),
            points=tuple(read_point(context.output(name) / POINT) for name in names),
            spent=read_records(context.output_file(SPENT), PhaseTime),
            also=describe_further(zip(request.also, self.dense_also(), strict=True)),
        )
        write_front(front, context.out)
        return count_met(front)

    def _open(self, finished: tuple[Budget, ...], progress: Progress) -> LatencySearch:
        """The search, with what the budgets ``finished`` by an earlier call measured."""
        if self.opened is None:
            request, timing = self.subject.request, self.dense()
            onnx = self.store.folder / DENSE_ONNX
            measured_s, store = timing.median_s, MeasurementStore()
            export = self.subject.export
            device = Device(request.profile, export, onnx, measured_s, store, self.scratch, request.source)
            first = request.budgets[0]  # stands in here; each budget asks anew
            limits = Limits(also=tuple(LatencyLimit(p, first.latency_ms, first.speedup) for p in request.also))
            self.opened = LatencySearch.on(
                device, timing, self.subject.search_subject(), progress, limits, self.dense_also()
            )
            for budget in finished:
                rounds = self.store.output(budget.name) / ROUNDS
                if rounds.exists():
                    self.opened.loop.recall(read_value(rounds, tuple[Round, ...]))
        return self.opened

    def _explain(
        self, search: LatencySearch, budget: Budget, budget_ms: float, result: LatencyResult
    ) -> PointExplanation:
        """Profile the layers of both models and say why the pruned one is as fast as it is."""
        profile, files = self.subject.request.profile, (search.loop.device.dense, search.onnx_file(budget))
        dense, pruned = (profile_nodes(file, profile) for file in files)
        names = LayerNames(self.subject.named.module)
        found = explain_comparison(files, (dense, pruned), result.comparison, names, profile, MeasurementStore())
        account = report_account(*search.loop.account())
        return PointExplanation(found, account, advise(budget_ms, found, account.floor))

    def _write_model(self, result: LatencyResult, onnx: Path, folder: Path) -> None:
        shutil.copyfile(onnx, folder / ONNX)
        save_pruned(result.model, result.plan, folder)
        if self.subject.named.task is not None:
            self.subject.named.task.save(result.model, folder / "model.pt")
