"""One model in one fresh worker process, under the conditions of a profile."""

from __future__ import annotations

import dataclasses
import functools
import re
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from deploy_prune.errors import DeployPruneError, InputError, MeasurementError, MissingDependencyError
from deploy_prune.hardware.availability import require_power, require_runnable, where
from deploy_prune.hardware.profile import HardwareProfile
from deploy_prune.runtime.build import Build
from deploy_prune.runtime.contention import UNOBSERVED, Contention
from deploy_prune.runtime.hosts import find_host, read_host
from deploy_prune.runtime.plain_names import PlainModel, make_plain
from deploy_prune.runtime.remote import bring_model, explain_board, start_worker
from deploy_prune.runtime.timing import Conditions
from deploy_prune.runtime.worker.refusal import RefusedError
from deploy_prune.runtime.worker.tensorrt_flags import show_version
from deploy_prune.runtime.worker.trtexec_engine import ask_version, find_trtexec

LOAD_TIMEOUT_S = 120.0
# A block of runs is asked to end at a given time; a single run of a large model may take this much longer.
RUN_GRACE_S = 60.0
WARM_UP_BLOCK_RUNS = 5
# A worker whose every block of runs is a process that warms up by itself needs no more than this.
BLOCK_WARM_UP_RUNS = 10
# Warm is when a block of runs is no longer faster than the one before by more than this share.
WARM_UP_GAIN = 0.03
# The first run may compile the model.
FIRST_RUN_TIMEOUT_S = 600.0
# "[ONNXRuntimeError] : 7 : INVALID_PROTOBUF : Load model from ... failed:" and the place in its C++ source; OpenVINO's
# "Exception from src/....cpp:84:", "Check '...' failed at src/....cpp:563:"
_ENGINE_PREFIX = re.compile(
    r"^\[ONNXRuntimeError\] : \d+ : \w+ : (Load model from .*? failed:)?(/\S+ .*\) )?"
    r"|(Exception from|Check '.*?' failed at) \S+:\d+: "
)
_PARAMETERS = frozenset({"engine", "mode", "device", "threads", "precision", "spinning", "affinity", "batch", "axes"})


@dataclasses.dataclass(frozen=True)
class Runs:
    """Consecutive runs of one model, in seconds.

    ``samples_s`` counts the time on a core; ``waits_s`` is what the same runs spent ready but without a core
    while another process had it. Their sum is what a clock on the wall showed.
    """

    samples_s: tuple[float, ...]
    waits_s: tuple[float, ...]

    def __add__(self, other: Runs) -> Runs:
        return Runs(self.samples_s + other.samples_s, self.waits_s + other.waits_s)

    def __getitem__(self, which: slice) -> Runs:
        return Runs(self.samples_s[which], self.waits_s[which])

    def __len__(self) -> int:
        return len(self.samples_s)

    @property
    def median_s(self) -> float:
        """Median of ``samples_s``."""
        return float(np.median(self.samples_s))

    @property
    def wall_s(self) -> float:
        """Seconds that all runs took together."""
        return sum(self.samples_s) + sum(self.waits_s)


NO_RUNS = Runs((), ())


class Runner:
    """A loaded model that can be run and timed; a context manager that ends its process.

    Args:
        model: a file that the profile's engine reads: .onnx, or .pt2 for PyTorch.
        profile: engine, threads and the rest.
        profiling: let the engine time its own nodes (see ``nodes``); this slows the runs down.

    ``runs_done`` counts all runs so far, warm-up included.

    Raises:
        InputError: the file is missing or no usable model, or it or this machine does not fit the profile.
        MissingDependencyError: the engine is not installed.
        MeasurementError: the worker died or hangs.
    """

    def __init__(self, model: Path, profile: HardwareProfile, *, profiling: bool = False) -> None:
        self.model, self.profile, self.runs_done = Path(model), profile, 0
        require_model(self.model, profile)
        require_runnable(profile, find_host(profile))
        self._plain: PlainModel | None = None
        with tempfile.TemporaryDirectory(prefix="deploy-prune-") as folder:
            path, conditions, timeout_s = self._prepare(Path(folder))
            self._process = start_worker(profile)
            try:
                self._host = read_host(self._process, profile)
                require_power(profile, self._host)
                model_there = bring_model(self._process, path, profile)
                self._loaded = self._ask(
                    "load", timeout_s, model=model_there, conditions=conditions, profiling=profiling
                )
            except BaseException:
                self._process.end()
                raise

    def __enter__(self) -> Runner:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.end()

    def run(self, runs: int, max_s: float) -> Runs:
        """Up to ``runs`` runs, at least one; no further one starts after ``max_s`` seconds."""
        grace_s = RUN_GRACE_S if self.runs_done else FIRST_RUN_TIMEOUT_S
        reply = self._ask("run", max_s + grace_s, runs=runs, max_s=max_s)
        self.runs_done += len(reply["samples_ns"])
        pairs = list(zip(reply["samples_ns"], reply["waits_ns"], strict=True))
        return Runs(tuple((wall - wait) / 1e9 for wall, wait in pairs), tuple(wait / 1e9 for _, wait in pairs))

    def warm_up(self) -> Runs:
        """Run until the runs no longer get faster, within the profile's limits; the very first run does not count."""
        limits = self.profile.measuring
        if self.block_s:
            return self.run(BLOCK_WARM_UP_RUNS, limits.warm_up_max_s)
        if not self.runs_done:
            self.run(1, limits.warm_up_max_s)
        runs = self.run(WARM_UP_BLOCK_RUNS, limits.warm_up_max_s)
        while (left_s := limits.warm_up_max_s - runs.wall_s) > 0:
            if len(runs) >= limits.warm_up_runs and is_warm(runs.samples_s):
                break
            runs += self.run(WARM_UP_BLOCK_RUNS, left_s)
        return runs

    def pin(self, core: int | None = None) -> int | None:
        """Stay on ``core`` or on the present one; the core, or None where processes cannot be bound."""
        bound: int | None = self._ask("pin", RUN_GRACE_S, core=core)["core"]
        return bound

    def state(self) -> dict[str, Any]:
        """How busy machine and process are, for ``contention_between``."""
        return self._ask("state", RUN_GRACE_S)

    def nodes(self) -> dict[str, Any]:
        """End profiling; the raw nodes of every run and the engine's optimised graph."""
        reply = self._ask("nodes", LOAD_TIMEOUT_S)
        return reply if self._plain is None else self._plain.restore(reply)

    @property
    def block_s(self) -> float:
        """How long a block of runs should last because it costs a process of its own, in seconds; 0: it does not."""
        return float(self._loaded.get("block_s", 0.0))

    def conditions(self, contention: Contention = UNOBSERVED) -> Conditions:
        """Everything that a timing of this runner is taken under."""
        machine, power = self._host.machine, self._host.power
        return Conditions(
            profile=self.profile.name,
            machine=machine.fingerprint,
            processor=machine.processor,
            governor=machine.governor,
            power_mode=power.mode,
            clocks=self.profile.power.clocks,
            timer=self._loaded["timer"],
            engine=self.profile.engine,
            engine_version=self._loaded["engine_version"],
            provider=self._loaded["provider"],
            mode=self.profile.mode,
            device=self.profile.device,
            threads=self.profile.threads,
            spinning=self.profile.spinning,
            affinity=self.profile.affinity,
            precision=self.profile.precision,
            executed_precision=self._loaded["executed_precision"],
            batch=self.profile.batch,
            inputs=tuple(self._loaded["inputs"]),
            contention=contention,
            build=Build.from_dict(self._loaded["build"]) if "build" in self._loaded else None,
        )

    def _prepare(self, folder: Path) -> tuple[Path, dict[str, Any], float]:
        """The file for the worker, its conditions, and how long it may take to load; an engine may be built twice."""
        conditions = self.profile.model_dump(include=set(_PARAMETERS))
        if self.profile.engine != "tensorrt":
            return self.model, conditions, LOAD_TIMEOUT_S
        self._plain = make_plain(self.model, folder)
        if self.profile.precision == "int8" and not self._plain.quantised:
            reason = "it has no QuantizeLinear nodes, and TensorRT would make up their scales; quantise it first"
            raise InputError(f"{self.model} does not fit the profile {self.profile.name!r}: {reason}")
        settings = self.profile.tensorrt
        conditions |= {"inputs": self._plain.inputs, "tensorrt": settings.model_dump()}
        return self._plain.path, conditions, LOAD_TIMEOUT_S + 2 * settings.build_timeout_s

    def _ask(self, do: str, timeout_s: float, **arguments: Any) -> dict[str, Any]:
        try:
            return self._process.request(do, timeout_s=timeout_s, **arguments)
        except RefusedError as refused:
            raise self._explain(refused) from None

    def _explain(self, refused: RefusedError) -> DeployPruneError:
        """The worker's refusal as the error that a user can act on."""
        if (error := explain_board(refused, self.profile)) is not None:
            return error
        reason = _ENGINE_PREFIX.sub("", " ".join(str(refused).split()))
        engine, install = self.profile.engine, self.profile.engine_facts.install
        there = "" if self.profile.host is None else f" on {self.profile.host}"
        if refused.kind == "missing":
            return MissingDependencyError(f"{engine} cannot be imported{there} ({reason}); {install}")
        if refused.kind == "device":
            return InputError(
                f"the profile {self.profile.name!r} cannot run {where(self.profile)} with {engine}: {reason}"
            )
        if refused.kind == "input":
            return InputError(f"{self.model} does not fit the profile {self.profile.name!r}: {reason}")
        if refused.kind == "model":
            return InputError(f"{self.model} is not a model that {engine} can run ({reason}); export it again")
        return MeasurementError(f"{engine} failed on {self.model}: {reason}")


def engine_version(profile: HardwareProfile) -> str | None:
    """Version of the profile's engine on its machine, None where it is not installed; trtexec is asked for its own.

    Raises:
        InputError: there is no trtexec, or it is none of NVIDIA's that is known.
    """
    if profile.host is not None:
        host = find_host(profile)
        return host.trtexec if profile.mode == "trtexec" else host.engines.get(profile.engine_facts.package)
    if profile.mode != "trtexec":
        return profile.engine_facts.version
    try:
        return _trtexec_version(find_trtexec(profile.tensorrt.trtexec))
    except RefusedError as refused:
        raise InputError(f"the profile {profile.name!r} cannot run here: {refused}") from None


@functools.cache
def _trtexec_version(command: str) -> str:
    return show_version(ask_version(command))


def require_model(model: Path, profile: HardwareProfile) -> None:
    """Refuse a path that is no file, or a file that the profile's engine does not read.

    Raises:
        InputError: says which.
    """
    wanted = " or ".join(profile.engine_facts.files)
    if not model.is_file():
        problem = f"{model} is a folder" if model.is_dir() else f"model file {model} not found"
        raise InputError(f"{problem}; give the path of an exported {wanted} file")
    if model.suffix not in profile.engine_facts.files:
        raise InputError(f"{model} is no {wanted} file, which is what {profile.engine} reads; export it as one")


def is_warm(samples_s: tuple[float, ...]) -> bool:
    """Is the last block's fastest run no faster than that of the block before, but for ``WARM_UP_GAIN``?"""
    last = samples_s[-WARM_UP_BLOCK_RUNS:]
    before = samples_s[-2 * WARM_UP_BLOCK_RUNS : -WARM_UP_BLOCK_RUNS]
    return bool(before) and min(last) >= (1 - WARM_UP_GAIN) * min(before)
