"""Accuracy at equal measured latency: ours beside Torch-Pruning and beside a smaller dense network.

    python benchmarks/accuracy.py [--cases "resnet18, easy" …] [--seeds 0 1 2]
    python benchmarks/accuracy.py --table

Per network, kind of pictures and seed one dense network is trained, and pruned to 1.5, 2 and 3 times its speed:

* by us, as a recipe does: search on 16 training pictures, recovery on 64, no other data;
* by Torch-Pruning: local, global and isomorphic, group magnitude and Taylor (on the same 64 pictures), rounded to 16;
  of each setting the ratio is sought at which it is as fast;
* and a smaller dense network of the same speed is trained from random weights: every width of the architecture times
  one factor, for as long as dense network and finetuning take together.

Speed-ups are measured by benchmarks/fresh_ratio.py, against the dense file and with the engine alone. A rival may be
up to 3 % slower than asked; ours may not. All pruned networks are then finetuned for equally many epochs with the same
settings. Results go to benchmarks/results/accuracy.json, row by row; what is there is kept.
"""

import argparse
import hashlib
import json
import math
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import peer_accuracy
from accuracy_cases import CASES, Case
from accuracy_table import write_table
from fresh_ratio import measure_apart
from markers import ROOT
from torch import nn

from deploy_prune.errors import DeployPruneError
from deploy_prune.hardware.machine import detect_machine
from deploy_prune.hardware.profile import load_profile
from deploy_prune.importance.calibration import Calibration
from deploy_prune.pipeline.latency_budget import Budget
from deploy_prune.pipeline.latency_search import LatencySearch, Subject
from deploy_prune.pruner.surgery import apply_plan
from deploy_prune.recovery import recover
from deploy_prune.search.prunable import Prunable
from deploy_prune.store import MeasurementStore
from deploy_prune.tasks.task import Task

SPEEDUPS = (1.5, 2.0, 3.0)
PRICED_ON, RECOVERED_ON, BATCH = 16, 64, 8
SLACK = 0.97
"""Share of the asked speed-up at which a rival counts as fast enough."""
NEAR = 1.05
"""A rival that is faster than this much of what was asked is tried with less pruning, up to ``TRIES`` times."""
TRIES = 6
POWER, MOST, NARROW = 1.5, 0.97, 0.004
"""Of the share that remains, a first guess of the speed-up; the largest share removed; brackets that are not split."""
RESULTS = ROOT / "benchmarks" / "results" / "accuracy.json"
Make = Callable[[float], nn.Module]


class Rival:
    """Networks of one kind by the share of units that they lack, with their measured speed-ups."""

    def __init__(self, make: Make, task: Task, dense: Path, folder: Path) -> None:
        self._make, self._task, self._dense, self._folder = make, task, dense, folder
        self._known: dict[float, float] = {0.0: 1.0}

    def speedup(self, ratio: float) -> float:
        """Measured against the dense file, once for each set of shapes."""
        if ratio not in self._known:
            model = self._make(ratio)
            name = hashlib.sha256(repr([tuple(p.shape) for p in model.parameters()]).encode()).hexdigest()
            measured = self._folder / f"{name}.speedup"
            if not measured.exists():
                file = self._task.export_onnx(model, self._folder / "rival.onnx")
                measured.write_text(str(measure_apart((self._dense, file), processes=2, seconds=0.4)["ratio"]))
            self._known[ratio] = float(measured.read_text())
        return self._known[ratio]

    def ratio_for(self, asked: float) -> float | None:
        """The smallest share found at which the network is fast enough; None if it never is."""
        goal = asked * SLACK
        for _ in range(TRIES):
            low = max(share for share, speedup in self._known.items() if speedup < goal)
            high = min((share for share, speedup in self._known.items() if speedup >= goal), default=None)
            if high is not None and (self._known[high] <= asked * NEAR or high - low < NARROW):
                break
            if low >= MOST:
                break
            self.speedup(self._between(low, high, asked))
        return min((share for share, speedup in self._known.items() if speedup >= goal), default=None)

    def _between(self, low: float, high: float | None, asked: float) -> float:
        """Where the asked speed-up is met if it is a power of the share that remains, in the middle of the bracket."""
        if high is None:
            power = math.log(self._known[low]) / -math.log(1 - low) if self._known[low] > 1 else POWER
            return min(max(1 - asked ** (-1 / power), low + 0.05), MOST)
        ends = [(math.log(self._known[share]), math.log(1 - share)) for share in (low, high)]
        (slow, left), (fast, right) = ends
        share = 1 - math.exp(left + (right - left) * (math.log(asked) - slow) / (fast - slow))
        return min(max(share, low + 0.15 * (high - low)), high - 0.15 * (high - low))


class Row:
    """One dense network, and all that is made of it."""

    def __init__(self, case: Case, seed: int, folder: Path) -> None:
        self.case, self.task, self.folder = case, case.task(folder / "data", seed), folder
        self.work = folder / f"{case.name.replace(', ', '-')}-{seed}"
        began = time.monotonic()
        self.dense = self.task.train(self.task.build(), self.work / "dense", epochs=case.epochs)
        self.dense_s = time.monotonic() - began
        self.onnx = self.task.export_onnx(self.dense, self.work / "dense.onnx")
        self.batches = self.task.calibration_batches(RECOVERED_ON, BATCH)

    def results(self, store: MeasurementStore) -> dict[str, Any]:
        """Everything that the table needs."""
        search = self._search(store)
        rivals = {"/".join(s): self._rival(self._peer(s)) for s in self._settings()}
        smaller, untrained = self._rival(self._smaller()), self._smaller()
        cells = []
        for asked in SPEEDUPS:
            cell = {"speedup": asked, "ours": self._ours(search, asked), "rivals": {}}
            for name, rival in rivals.items():
                cell["rivals"][name] = self._judged(rival, self._peer(tuple(name.split("/"))), asked, f"{name}-{asked}")
            cell["smaller"] = self._from_scratch(smaller, untrained, asked)
            cells.append(cell)
            print(self.case.name, asked, json.dumps(cell), flush=True)
        score = self.task.evaluate(self.dense)
        return {"metric": score.name, "dense": score.value, "dense_s": self.dense_s, "cells": cells}

    def _settings(self) -> list[tuple[str, str]]:
        return peer_accuracy.SETTINGS if self.case.peer != "none" else []

    def _search(self, store: MeasurementStore) -> LatencySearch:
        task = self.task
        calibration = Calibration(task.calibration_batches(PRICED_ON, BATCH), task.loss)
        subject = Subject(
            self.dense,
            task.example_inputs(),
            lambda model, path: task.export_onnx(model, path),
            calibration=calibration,
            output_transform=task.kept_output,
        )
        return LatencySearch.of(subject, load_profile("cpu-onnxruntime"), store, self.work)

    def _ours(self, search: LatencySearch, asked: float) -> dict[str, Any]:
        try:
            best = search.loop.search(Budget(speedup=asked)).best
        except DeployPruneError as error:
            return {"fails": str(error)}
        plan = search.loop.prunable.plan(best.widths)
        pruned = apply_plan(self.dense, plan)
        recovered = recover(self.dense, pruned, plan, self.batches, self.task.loss).model
        return {"pruned": self._score(pruned), **self._finished(recovered, f"ours-{asked}")}

    def _judged(self, rival: Rival, make: Make, asked: float, name: str) -> dict[str, Any]:
        try:
            ratio = rival.ratio_for(asked)
            if ratio is None:
                return {"fails": "never as fast"}
            return {"ratio": ratio, **self._finished(make(ratio), name)}
        except Exception as error:  # whatever goes wrong in the other tool, or in a network that it broke
            return {"fails": f"{type(error).__name__}: {error}".splitlines()[0][:200]}

    def _finished(self, model: nn.Module, name: str) -> dict[str, Any]:
        """Speed-up, and score before and after finetuning."""
        file = self.task.export_onnx(model, self.work / "finished.onnx")
        speedup = measure_apart((self.onnx, file), processes=3, seconds=0.6)["ratio"]
        began = time.monotonic()
        tuned = self.task.finetune(model, self.work / name, epochs=self.case.finetuning)
        seconds = time.monotonic() - began
        return {
            "speedup": speedup,
            "before": self._score(model),
            "after": self._score(tuned),
            "finetuning_s": seconds,
        }

    def _from_scratch(self, rival: Rival, make: Make, asked: float) -> dict[str, Any]:
        ratio = rival.ratio_for(asked)
        if ratio is None:
            return {"fails": "never as fast"}
        model = make(ratio)
        began = time.monotonic()
        self.task.train(model, self.work / f"trial-{asked}", epochs=1)
        epoch_s = time.monotonic() - began
        share = 1 + self.case.finetuning / self.case.epochs / asked  # of the dense training's time, finetuning too
        epochs = max(self.case.epochs, round(self.dense_s * share / epoch_s))
        trained = self.task.train(model, self.work / f"smaller-{asked}", epochs=epochs)
        return {"ratio": ratio, "epochs": epochs, "after": self._score(trained), "speedup": rival.speedup(ratio)}

    def _rival(self, make: Make) -> Rival:
        return Rival(make, self.task, self.onnx, self.work)

    def _peer(self, setting: tuple[str, ...]) -> Make:
        dense = peer_accuracy.without_split(self.dense) if self.case.peer == "C2f" else self.dense
        return lambda ratio: peer_accuracy.prune(dense, self.task, self.batches, (setting[0], setting[1]), ratio)

    def _smaller(self) -> Make:
        """Every group at one share of its width, with the weights that the network begins with."""
        task = self.task
        prunable = Prunable.of(task.build(), task.example_inputs(), output_transform=task.kept_output)
        return lambda ratio: prunable.build(_uniform(prunable.full_widths, 1 - ratio))

    def _score(self, model: nn.Module) -> float:
        return self.task.evaluate(model).value


def _uniform(full: Mapping[str, int], share: float) -> dict[str, int]:
    """A share of each width: of wide groups a multiple of 16, of others of 4."""
    widths = {}
    for name, width in full.items():
        step = 16 if width >= 64 else 4 if width >= 16 else 1
        widths[name] = min(max(round(share * width / step), 1) * step, width)
    return widths


def main() -> None:
    """Run what is missing, or write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--table", action="store_true", help="write the table of what there is")
    parser.add_argument("--work", type=Path, help="folder of data and trained networks (default: a temporary one)")
    parser.add_argument("--store", type=Path, help="the file of measurements (default: the user's)")
    options = parser.parse_args()
    content = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"rows": {}}
    if not options.table:
        with tempfile.TemporaryDirectory() as temporary:
            folder = options.work or Path(temporary)
            for key in [f"{name}, seed {seed}" for seed in options.seeds for name in options.cases]:
                if key in content["rows"]:
                    continue
                name, _, seed = key.rpartition(", seed ")
                found = Row(CASES[name], int(seed), folder).results(MeasurementStore(options.store))
                _keep(key, found | {"machine": detect_machine().processor, "date": time.strftime("%Y-%m-%d")})
        content = json.loads(RESULTS.read_text())
    write_table(content["rows"])


def _keep(key: str, found: dict[str, Any]) -> None:
    """Add a row to what another process may have written in the meantime."""
    content = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"rows": {}}
    content["rows"][key] = found
    temporary = RESULTS.with_suffix(".new")
    temporary.write_text(json.dumps(content, indent=1))
    temporary.replace(RESULTS)


if __name__ == "__main__":
    main()
