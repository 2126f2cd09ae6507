"""TensorRT through trtexec, the program that comes with it: build an engine, time it, time its layers.

Every step is a process of its own, since a CUDA error stays with the process that met it. Nothing here has been run by
a real trtexec yet; the tests run it against a stand-in that speaks the same command line.
"""

from __future__ import annotations

import ctypes
import shutil
import signal
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from deploy_prune.runtime.worker.feed import fix_shape
from deploy_prune.runtime.worker.refusal import RefusedError
from deploy_prune.runtime.worker.tensorrt_cache import ENGINE, describe_source, engine_key, open_cache, open_engine
from deploy_prune.runtime.worker.tensorrt_flags import (
    WARM_UP_MS,
    build_arguments,
    check_settings,
    drop_paths,
    parse_version,
    run_arguments,
    show_shapes,
    show_version,
)
from deploy_prune.runtime.worker.tensorrt_reports import (
    check_precision,
    join_times,
    read_file,
    read_layers,
    read_log,
    read_profile,
    read_times,
)

# Where NVIDIA's Debian packages put it, on a Jetson too; it is not on PATH there.
USUAL_PLACE = "/usr/src/tensorrt/bin/trtexec"
HELP_TIMEOUT_S = 60.0
# What a process may take besides its runs: it starts CUDA and loads the engine.
START_TIMEOUT_S = 50.0
# Each block of runs is a process that starts anew and warms up, about two seconds; a block lasts as long as this.
BLOCK_S = 0.5
# What a run is taken to last at least; trtexec gives six digits of milliseconds.
SHORTEST_S = 1e-9
# More of them say nothing new, and every single one is kept.
MAX_BLOCK_RUNS = 1000
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


class TrtexecModel:
    """An engine that trtexec has built of the model, and that trtexec runs block by block."""

    timer = "device events"

    def __init__(self, model: str, conditions: dict[str, Any], profiling: bool) -> None:
        self._settings, self._precision = conditions["tensorrt"], conditions["precision"]
        self._command = find_trtexec(self._settings["trtexec"])
        self._version = ask_version(self._command)
        check_settings(self._version, self._precision, self._settings)
        fixed = {
            name: fix_shape(name, shape, conditions["batch"], conditions["axes"])
            for name, _, shape in conditions["inputs"]
        }
        self._shapes = show_shapes(conditions["inputs"], fixed)
        # removed when this process ends, whichever way its main function is left
        self._folder = tempfile.TemporaryDirectory(prefix="deploy-prune-")
        self._profiling, self._typical_s = profiling, 0.0
        self._layer_times: list[tuple[str, list[float]]] = []
        self._place, facts = self._open_engine(model)
        self.description: dict[str, Any] = {
            "engine_version": show_version(self._version),
            "provider": facts["gpu"],
            "executed_precision": check_precision(self._layers, self._precision, self._settings["typing"]),
            "inputs": [f"{kind}{fixed[name]}" for name, kind, _ in conditions["inputs"]],
            "block_s": BLOCK_S,
            "build": {**facts, "layers": len(self._layers)},
        }

    def run_block(self, runs: int, max_s: float) -> list[int]:
        """Nanoseconds on the device of up to ``runs`` runs, as many as should fit into ``max_s`` seconds.

        With profiling each layer gets the median of the block for every run in it, since trtexec tells no more. The
        runs are timed in a pass of their own, without the profiler.
        """
        runs = min(runs, MAX_BLOCK_RUNS, max(1, int(max_s / self._typical_s)))
        paths = self._paths()
        # half as long again for the runs that warm up, twice with a pass for the layers
        limit_s = START_TIMEOUT_S + 3 * (runs * self._typical_s + WARM_UP_MS / 1e3)
        times_s = self._time(runs, paths, limit_s)[:runs]
        if self._profiling:
            self._note_layers(read_profile(Path(paths["profile"])), len(times_s))
        return [round(1e9 * seconds) for seconds in times_s]

    def nodes(self) -> dict[str, Any]:
        """The layers in order of execution, with the microseconds of every run."""
        if not self._profiling:
            raise RefusedError("input", "the model was loaded without profiling")
        return {"nodes": join_times(self._layers, self._layer_times), "graph": None}

    def _open_engine(self, model: str) -> tuple[Path, dict[str, Any]]:
        """The folder of the engine and its facts; the engine has run."""
        folder = open_cache(self._settings)
        version = show_version(self._version)
        paths = {"onnx": model, "timing_cache": str(folder / f"timing-{version}.cache")}

        def arguments(target: Path) -> list[str]:
            written = {**paths, "engine": str(target / ENGINE)}
            return build_arguments(self._version, self._precision, self._settings, self._shapes, written)

        def build(target: Path) -> dict[str, Any]:
            return {**self._build(arguments(target)), "flags": choices, **describe_source(model, version)}

        choices = drop_paths(arguments(Path()))
        place = folder / engine_key(model, version, choices)
        return place, open_engine(place, build, lambda: self._try(place))

    def _build(self, arguments: list[str]) -> dict[str, Any]:
        start = time.monotonic()
        log = read_log(self._run(arguments, self._settings["build_timeout_s"]))
        return {
            "gpu": log.gpu,
            "seconds": round(time.monotonic() - start, 3),
            "dla_layers": list(log.dla_layers),
            "gpu_layers": list(log.gpu_layers),
            "fallback": list(log.fallback),
        }

    def _try(self, place: Path) -> None:
        """Run the engine once, which tells whether it can be loaded, about how long it takes, and its layers."""
        self._place = place
        paths = {**self._paths(), "layers": str(Path(self._folder.name, "layers.json"))}
        paths.pop("profile", None)
        self._time(1, paths, START_TIMEOUT_S)
        self._layers = read_layers(read_file(Path(paths["layers"])))

    def _time(self, runs: int, paths: dict[str, str], limit_s: float) -> list[float]:
        """Seconds of at least ``runs`` runs; every report in ``paths`` is that of this call."""
        for report in ("times", "layers", "profile"):
            if report in paths and Path(paths[report]).exists():
                Path(paths[report]).unlink()
        self._run(run_arguments(self._version, self._settings, self._shapes, runs, paths), limit_s)
        times_s = read_times(Path(paths["times"]))
        self._typical_s = max(statistics.median(times_s), SHORTEST_S)
        return times_s

    def _paths(self) -> dict[str, str]:
        folder = Path(self._folder.name)
        paths = {"engine": str(self._place / ENGINE), "times": str(folder / "times.json")}
        return {**paths, "profile": str(folder / "profile.json")} if self._profiling else paths

    def _note_layers(self, profile: list[tuple[str, float]], runs: int) -> None:
        if not self._layer_times:
            self._layer_times = [(name, []) for name, _ in profile]
        if [name for name, _ in profile] != [name for name, _ in self._layer_times]:
            raise RefusedError("failed", "two profiles of one engine have different layers")
        for position, (_, seconds) in enumerate(profile):
            self._layer_times[position][1].extend([1e6 * seconds] * runs)

    def _run(self, arguments: list[str], limit_s: float) -> str:
        """Run trtexec to its end; its log."""
        building = "--skipInference" in arguments
        try:
            code, log = run_tool([self._command, *arguments], limit_s)
        except subprocess.TimeoutExpired as error:
            advice = "; set a longer 'build_timeout_s' under 'tensorrt' in the profile" if building else ""
            raise RefusedError("failed", f"trtexec took longer than {limit_s:g} s and was ended{advice}") from error
        if code != 0 or "&&&& PASSED" not in log:
            raise explain_failure(code, log, building)
        return log


def find_trtexec(wanted: str | None) -> str:
    """The path of trtexec: the profile's, else on PATH, else where NVIDIA's packages put it."""
    found = shutil.which(wanted or "trtexec") or (None if wanted else shutil.which(USUAL_PLACE))
    if found is None:
        place = f"{wanted!r} is no program" if wanted else f"it is neither on PATH nor at {USUAL_PLACE}"
        advice = "name it as 'trtexec' under 'tensorrt' in the profile"
        raise RefusedError("device", f"trtexec not found: {place}; {advice}")
    return found


def ask_version(command: str) -> tuple[int, int, int]:
    """The version of this trtexec; its banner comes before everything else."""
    return parse_version(run_tool([command, "--help"], HELP_TIMEOUT_S)[1])


def run_tool(command: list[str], limit_s: float) -> tuple[int, str]:
    """Run a command that ends with this process at the latest; its exit code, and all that it said.

    Raises:
        subprocess.TimeoutExpired: it was ended after ``limit_s`` seconds.
    """
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=limit_s,
            check=False, encoding="utf-8", errors="replace", preexec_fn=end_with_parent,
        )  # fmt: skip
    except OSError as error:
        raise RefusedError("device", f"{command[0]} cannot be started ({error.strerror})") from error
    return done.returncode, done.stdout


def end_with_parent() -> None:
    """Runs in the child before it becomes the command: the kernel ends it when this process is killed."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def explain_failure(code: int, log: str, building: bool) -> RefusedError:
    """The first error of the log as a refusal; the model is at fault where an engine was to be built of it."""
    errors = read_log(log).errors
    unknown = [error for error in errors if error.startswith("Unknown option")]
    if unknown:
        return RefusedError("failed", f"this trtexec refuses an option ({unknown[0].strip()})")
    if code < 0:
        return RefusedError("failed", f"trtexec was ended by signal {-code}, perhaps for want of memory")
    reason = errors[0] if errors else f"trtexec ended with exit code {code} and no error line"
    return RefusedError("model" if building else "failed", reason)
