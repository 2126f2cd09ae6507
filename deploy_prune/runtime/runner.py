"""One model in one fresh worker process, under the conditions of a profile."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from deploy_prune.errors import InputError, MeasurementError, MissingDependencyError
from deploy_prune.hardware.machine import detect_machine
from deploy_prune.hardware.profile import HardwareProfile
from deploy_prune.runtime.client import WorkerProcess, WorkerRefusal
from deploy_prune.runtime.contention import UNOBSERVED, Contention
from deploy_prune.runtime.timing import Conditions

LOAD_TIMEOUT_S = 120.0
# A block of runs is asked to end after a given time; a single run of a large model may take this much longer.
RUN_GRACE_S = 60.0
WARM_UP_BLOCK_RUNS = 5
# Warm is when a block of runs is no longer faster than the one before by more than this share.
WARM_UP_GAIN = 0.03
INSTALL = {"onnxruntime": "pip install 'deploy_prune[onnx]'"}


class Runner:
    """A loaded model that can be run and timed; a context manager that ends its process.

    Args:
        model: an ONNX file.
        profile: engine, threads and the rest.
        profiling: let the engine time its own nodes (see ``nodes``); this slows the runs down.

    Raises:
        InputError: the file is missing or no usable model, or its axes do not fit the profile.
        MissingDependencyError: the engine is not installed.
        MeasurementError: the worker died or hangs.
    """

    def __init__(self, model: Path, profile: HardwareProfile, *, profiling: bool = False) -> None:
        self.model, self.profile = Path(model), profile
        if not self.model.is_file():
            raise InputError(f"model file {model} not found; give the path of an exported .onnx file")
        self._process = WorkerProcess()
        try:
            self._loaded = self._ask(
                "load", LOAD_TIMEOUT_S,
                model=str(self.model.resolve()), threads=profile.threads, spinning=profile.spinning,
                affinity=profile.affinity, optimisation="all", batch=profile.batch, axes=profile.axes,
                profiling=profiling,
            )  # fmt: skip
        except BaseException:
            self._process.kill()
            raise

    def __enter__(self) -> Runner:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.__exit__(kind, error, trace)

    def run(self, runs: int, max_s: float) -> list[float]:
        """Seconds of up to ``runs`` runs, at least one; no further run starts after ``max_s`` seconds."""
        reply = self._ask("run", max_s + RUN_GRACE_S, runs=runs, max_s=max_s)
        return [nanoseconds / 1e9 for nanoseconds in reply["samples_ns"]]

    def warm_up(self) -> list[float]:
        """Run until the runs no longer get faster (limits: the profile's); returns their seconds."""
        limits = self.profile.measuring
        samples = self.run(WARM_UP_BLOCK_RUNS, limits.warm_up_max_s)
        while sum(samples) < limits.warm_up_max_s:
            if len(samples) >= limits.warm_up_runs and is_warm(samples):
                break
            samples += self.run(WARM_UP_BLOCK_RUNS, limits.warm_up_max_s - sum(samples))
        return samples

    def state(self) -> dict[str, Any]:
        """How busy machine and process are, for ``contention_between``."""
        return self._ask("state", RUN_GRACE_S)

    def nodes(self) -> dict[str, Any]:
        """End profiling; the raw nodes of every run and the engine's optimised graph."""
        return self._ask("nodes", LOAD_TIMEOUT_S)

    def conditions(self, contention: Contention = UNOBSERVED) -> Conditions:
        """Everything a timing of this runner was taken under."""
        machine = detect_machine()
        return Conditions(
            profile=self.profile.name,
            machine=machine.fingerprint,
            processor=machine.processor,
            governor=machine.governor,
            engine=self.profile.engine,
            engine_version=self._loaded["engine_version"],
            provider=self._loaded["provider"],
            device=self.profile.device,
            threads=self.profile.threads,
            spinning=self.profile.spinning,
            affinity=self.profile.affinity,
            precision=self.profile.precision,
            batch=self.profile.batch,
            inputs=tuple(self._loaded["inputs"]),
            contention=contention,
        )

    def _ask(self, do: str, timeout_s: float, **arguments: Any) -> Mapping[str, Any]:
        try:
            return self._process.request(do, timeout_s=timeout_s, **arguments)
        except WorkerRefusal as refusal:
            raise self._explain(refusal) from None

    def _explain(self, refusal: WorkerRefusal) -> Exception:
        """The worker's refusal as the error that the user can act on."""
        reason = " ".join(str(refusal).split())
        engine = self.profile.engine
        if refusal.kind == "missing":
            return MissingDependencyError(f"{engine} cannot be imported ({reason}); {INSTALL[engine]}")
        if refusal.kind == "input":
            return InputError(
                f"{self.model}: {reason}; set 'batch' or 'axes' in the profile {self.profile.name!r}"
            )
        if refusal.kind == "model":
            return InputError(
                f"{self.model} is not a model that {engine} can run ({reason}); export it again"
            )
        return MeasurementError(f"{engine} failed on {self.model}: {reason}")


def is_warm(samples: list[float]) -> bool:
    """Is the fastest run of the last block no faster than that of the one before by more than ``WARM_UP_GAIN``?"""
    last, before = samples[-WARM_UP_BLOCK_RUNS:], samples[-2 * WARM_UP_BLOCK_RUNS : -WARM_UP_BLOCK_RUNS]
    return bool(before) and min(last) >= (1 - WARM_UP_GAIN) * min(before)
