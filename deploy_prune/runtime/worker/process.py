"""The process itself: JSON lines in and out, one model at a time.

One request per line on stdin, one reply per line on stdout:

    {"id": 1, "do": "load", ...}  ->  {"id": 1, "result": {...}}  or  {"id": 1, "error": {"kind", "message"}}

The kinds of error are those of ``RefusedError``. The end of stdin ends the process.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from deploy_prune.runtime.worker.onnxruntime_engine import OnnxRuntimeModel
from deploy_prune.runtime.worker.openvino_engine import OpenVinoModel
from deploy_prune.runtime.worker.refusal import RefusedError
from deploy_prune.runtime.worker.sensors import ask_throttled, count_overcurrents, read_rails_w
from deploy_prune.runtime.worker.tensorrt_engine import TensorRtModel
from deploy_prune.runtime.worker.torch_engine import TorchModel
from deploy_prune.runtime.worker.trtexec_engine import TrtexecModel

REQUESTS = ("load", "run", "nodes", "pin", "state")
STATE_FILES = {
    "loadavg": "proc/loadavg",
    "pressure": "proc/pressure/cpu",
    "stat": "proc/stat",
    "schedstat": "proc/self/task/*/schedstat",
    "clocks": "sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_cur_freq",
    "throttles": "sys/devices/system/cpu/cpu[0-9]*/thermal_throttle/*_throttle_count",
    "temperatures": "sys/class/thermal/thermal_zone*/temp",
    "coolers": "sys/class/thermal/cooling_device*/type",
    "cooling": "sys/class/thermal/cooling_device*/cur_state",
}
# Windows counts a thread's time in steps of 15 ms, which says nothing about one run.
THREAD_CLOCK_IS_FINE = time.get_clock_info("thread_time").resolution <= 1e-6


class Model(Protocol):
    """What every engine offers: a loaded model with its inputs.

    ``timer`` is what a run is timed by: "host" (the clock around it) or "device events", and then ``device_ns`` is
    the last run's time. ``description`` goes to the client with the reply to ``load``.
    """

    timer: str
    device_ns: int | None
    description: dict[str, Any]

    def run(self) -> None:
        """One inference, ended when it returns."""

    def after_run(self) -> None:
        """Called after each run, outside the time that is measured."""

    def nodes(self) -> dict[str, Any]:
        """End profiling; node records in order of execution and, if there is one, the optimised graph."""


@runtime_checkable
class BlockModel(Protocol):
    """What an engine offers whose runs cannot be timed one by one from here, since another process makes them."""

    timer: str
    description: dict[str, Any]

    def run_block(self, runs: int, max_s: float) -> list[int]:
        """Nanoseconds of up to ``runs`` inferences, at least one."""

    def nodes(self) -> dict[str, Any]:
        """As ``Model`` does."""


def open_tensorrt(model: str, conditions: dict[str, Any], profiling: bool) -> Model | BlockModel:
    """TensorRT in the profile's mode: by its program, or by its Python bindings."""
    engine = TrtexecModel if conditions["mode"] == "trtexec" else TensorRtModel
    return engine(model, conditions, profiling)


ENGINES: dict[str, Callable[[str, dict[str, Any], bool], Model | BlockModel]] = {
    "onnxruntime": OnnxRuntimeModel,
    "openvino": OpenVinoModel,
    "torch": TorchModel,
    "tensorrt": open_tensorrt,
}


class Worker:
    """Holds the loaded model between requests; each public method answers the request of its name."""

    def __init__(self) -> None:
        self._model: Model | BlockModel | None = None
        self._count_waits = False

    def load(self, model: str, conditions: dict[str, Any], profiling: bool) -> dict[str, Any]:
        """Give the model to its engine; with ``profiling`` the engine times its own nodes."""
        if conditions["affinity"]:
            bind_to_cores(conditions["affinity"])
        self._model = ENGINES[conditions["engine"]](model, conditions, profiling)
        # Only a run on a single thread is known to have been on a core exactly as long as that thread was.
        one_thread = conditions["threads"] == 1 and self._model.timer == "host"
        self._count_waits = THREAD_CLOCK_IS_FINE and one_thread
        return {**self._model.description, "timer": self._model.timer}

    def run(self, runs: int, max_s: float) -> dict[str, Any]:
        """Time up to ``runs`` runs, at least one, ending after ``max_s`` seconds.

        Returns the nanoseconds of each run, on the wall clock or between the device's own events, and for how many
        of them the thread had no core.
        """
        model, wall, own = self._loaded(), time.perf_counter_ns, time.thread_time_ns
        if isinstance(model, BlockModel):
            block = model.run_block(runs, max_s)
            return {"samples_ns": block, "waits_ns": [0] * len(block)}
        samples, waits = [], []
        end = wall() + int(max_s * 1e9)
        gc.disable()
        try:
            for _ in range(runs):
                own_start, start = own(), wall()
                model.run()
                stop, own_stop = wall(), own()
                samples.append(stop - start if model.device_ns is None else model.device_ns)
                waits.append(max(0, stop - start - (own_stop - own_start)) if self._count_waits else 0)
                model.after_run()
                if stop > end:
                    break
        finally:
            gc.enable()
        return {"samples_ns": samples, "waits_ns": waits}

    def nodes(self) -> dict[str, Any]:
        """The engine's own node times; ends profiling."""
        return self._loaded().nodes()

    def pin(self, core: int | None) -> dict[str, Any]:
        """Stay on ``core`` or on the present one; answers with it, or null where that is impossible."""
        core = current_core() if core is None else core
        if core is not None:
            os.sched_setaffinity(0, [core])
        return {"core": core}

    def state(self) -> dict[str, Any]:
        """Clocks and the kernel's own words on how busy the machine is; the client reads them."""
        return {
            "time_s": time.perf_counter(),
            "own_cpu_s": time.process_time(),
            "ticks_per_s": os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else None,
            **{name: read_texts(pattern) for name, pattern in STATE_FILES.items()},
            "rails_w": read_rails_w(Path("/")),
            "overcurrents": count_overcurrents(Path("/")),
            "throttled": ask_throttled(),
        }

    def _loaded(self) -> Model | BlockModel:
        if self._model is None:
            raise RefusedError("input", "no model is loaded")
        return self._model


def bind_to_cores(cores: list[int]) -> None:
    """Keep this process on the given cores."""
    if not hasattr(os, "sched_setaffinity"):
        raise RefusedError("input", "this system cannot bind a process to cores; leave 'affinity' out of the profile")
    usable = sorted(os.sched_getaffinity(0))
    if not set(cores) <= set(usable):
        raise RefusedError("input", f"the profile's 'affinity' is {cores}, the cores to choose from are {usable}")
    os.sched_setaffinity(0, cores)


def read_texts(pattern: str) -> list[str]:
    """The texts of all files that match, in the order of their paths; none where the kernel has no such file."""
    texts = []
    for path in sorted(Path("/").glob(pattern)):
        with contextlib.suppress(OSError):  # a thread may end while its folder is being read
            texts.append(path.read_text(encoding="utf-8"))
    return texts


def current_core() -> int | None:
    """The core this thread ran on last (field 39 of ``stat``, counted behind the command's name)."""
    texts = read_texts("proc/self/stat") if hasattr(os, "sched_setaffinity") else []
    return int(texts[0].rpartition(")")[2].split()[36]) if texts else None


def answer(worker: Worker, request: dict[str, Any]) -> dict[str, Any]:
    """The reply to one request; every failure becomes an error reply."""
    try:
        arguments = {key: value for key, value in request.items() if key not in ("id", "do")}
        if request["do"] not in REQUESTS:
            raise RefusedError("input", f"unknown request {request['do']!r}")
        return {"id": request["id"], "result": getattr(worker, request["do"])(**arguments)}
    except RefusedError as refused:
        return {"id": request["id"], "error": {"kind": refused.kind, "message": str(refused)}}
    except Exception as error:
        traceback.print_exc()
        message = f"{type(error).__name__}: {error}"
        return {"id": request["id"], "error": {"kind": "failed", "message": message}}


def main() -> None:
    """Answer requests until stdin ends."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # prints of engines written in C go to stderr and cannot corrupt the protocol
    worker = Worker()
    try:
        for line in sys.stdin.buffer:
            request = json.loads(line.decode("utf-8"))
            out.write(json.dumps(answer(worker, request)) + "\n")
            out.flush()
    except BrokenPipeError:
        pass  # the client is gone, nobody is left to answer
