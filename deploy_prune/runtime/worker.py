"""The measuring process: one model, one engine, JSON lines in and out.

This file is sent as text to ``python -u -c ...`` on the machine that measures, so it stands alone: it needs
the standard library and the engine only, and runs on Python 3.8. One request per line on stdin, one reply per
line on stdout:

    {"id": 1, "do": "load", ...}  ->  {"id": 1, "result": {...}}  or  {"id": 1, "error": {"kind", "message"}}

Error kinds: ``missing`` (engine not installed), ``input`` (the request, or the model's axes), ``model`` (the
engine refuses the file), ``failed`` (anything else). The end of stdin ends the process.
"""

from __future__ import annotations

import base64
import contextlib
import gc
import json
import os
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

REQUESTS = ("load", "run", "nodes", "pin", "state")
STATE_FILES = {
    "loadavg": "proc/loadavg",
    "pressure": "proc/pressure/cpu",
    "stat": "proc/stat",
    "schedstat": "proc/self/task/*/schedstat",
    "clocks": "sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_cur_freq",
}
INPUT_SEED = 0
# Input types that random numbers can fill, as "tensor(...)" names them and as NumPy does.
NUMPY_TYPES = {"float": "float32", "double": "float64", "float16": "float16", "bool": "bool"}
NUMPY_TYPES.update({name: name for name in ("int64", "int32", "int8", "uint8")})
# Windows counts a thread's time in steps of 15 ms, which says nothing about one run.
THREAD_CLOCK_IS_FINE = time.get_clock_info("thread_time").resolution <= 1e-6


class RefusedError(Exception):
    """A request cannot be met; ``kind`` tells the client which error to raise."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class OnnxRuntimeModel:
    """A model in an ONNX Runtime session on the CPU, with its random inputs."""

    def __init__(self, model: str, conditions: dict[str, Any], profiling: bool) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise RefusedError("missing", str(error)) from error
        onnxruntime.disable_telemetry_events()
        options = onnxruntime.SessionOptions()
        # removed when this process ends, whichever way its main function is left
        self._folder = tempfile.TemporaryDirectory(prefix="deploy-prune-") if profiling else None
        self._set_options(options, conditions)
        try:
            self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the engine's error classes differ between its versions
            raise RefusedError("model", str(error)) from error
        self._feed = make_feed(self._session.get_inputs(), conditions["batch"], conditions["axes"])
        self.description = {
            "engine_version": onnxruntime.__version__,
            "provider": self._session.get_providers()[0],
            "inputs": [f"{array.dtype}{list(array.shape)}" for array in self._feed.values()],
        }

    def _set_options(self, options: Any, conditions: dict[str, Any]) -> None:
        threads, affinity = conditions["threads"], conditions["affinity"]
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        spinning = "1" if conditions["spinning"] else "0"
        options.add_session_config_entry("session.intra_op.allow_spinning", spinning)
        if affinity and threads > 1:
            # 1-based, and for the pool's threads only: the calling thread is bound by the operating system
            pool = [str(affinity[k % len(affinity)] + 1) for k in range(1, threads)]
            options.add_session_config_entry("session.intra_op_thread_affinities", ";".join(pool))
        if self._folder is not None:
            options.enable_profiling = True
            options.profile_file_prefix = str(Path(self._folder.name, "trace"))
            options.optimized_model_filepath = str(Path(self._folder.name, "optimised.onnx"))
            # weights into a file of their own, so that the graph is small enough to be sent
            external = "session.optimized_model_external_initializers_"
            options.add_session_config_entry(external + "file_name", "weights")
            options.add_session_config_entry(external + "min_size_in_bytes", "0")

    def run(self) -> None:
        """One inference."""
        self._session.run(None, self._feed)

    def nodes(self) -> dict[str, Any]:
        """End profiling: the engine's own times of each node in each run, and its optimised graph."""
        if self._folder is None:
            raise RefusedError("input", "the model was loaded without profiling")
        events = json.loads(Path(self._session.end_profiling()).read_text(encoding="utf-8"))
        graph = Path(self._folder.name, "optimised.onnx").read_bytes()
        return {"nodes": collect_nodes(events), "graph": base64.b64encode(graph).decode("ascii")}


class Worker:
    """Holds the loaded model between requests; each public method answers the request of its name."""

    def __init__(self) -> None:
        self._model: OnnxRuntimeModel | None = None
        self._count_waits = False

    def load(self, model: str, conditions: dict[str, Any], profiling: bool) -> dict[str, Any]:
        """Create the engine's session; with ``profiling`` the engine times its own nodes."""
        if conditions["affinity"]:
            bind_to_cores(conditions["affinity"])
        self._model = OnnxRuntimeModel(model, conditions, profiling)
        # Only a run on a single thread is known to have been on a core exactly as long as that thread was.
        self._count_waits = THREAD_CLOCK_IS_FINE and conditions["threads"] == 1
        return self._model.description

    def run(self, runs: int, max_s: float) -> dict[str, Any]:
        """Time up to ``runs`` runs, at least one, ending after ``max_s`` seconds.

        Returns the nanoseconds of each run on the wall clock, and how many of them the thread had no core.
        """
        model, wall, own = self._loaded(), time.perf_counter_ns, time.thread_time_ns
        samples, waits = [], []
        end = wall() + int(max_s * 1e9)
        gc.disable()
        try:
            for _ in range(runs):
                own_start, start = own(), wall()
                model.run()
                stop, own_stop = wall(), own()
                samples.append(stop - start)
                waits.append(max(0, stop - start - (own_stop - own_start)) if self._count_waits else 0)
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
        }

    def _loaded(self) -> OnnxRuntimeModel:
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


def make_feed(inputs: Any, batch: int, axes: dict[str, int]) -> dict[str, Any]:
    """Uniform random arrays of each input's shape and type, the same in every worker."""
    import numpy

    random = numpy.random.default_rng(INPUT_SEED)
    feed = {}
    for tensor in inputs:
        kind = NUMPY_TYPES.get(tensor.type[len("tensor(") : -1])
        if kind is None:
            raise RefusedError("input", f"input {tensor.name!r} is a {tensor.type}, which cannot be filled")
        shape = fix_shape(tensor.name, tensor.shape, batch, axes)
        if kind.startswith("float"):
            feed[tensor.name] = random.random(shape).astype(kind)
        else:
            # 0 and 1 are valid as token, index and mask alike
            feed[tensor.name] = random.integers(0, 2, shape).astype(kind)
    return feed


def fix_shape(name: str, shape: list[Any], batch: int, axes: dict[str, int]) -> list[int]:
    """Give every dynamic axis its size: from ``axes`` by its name, or the batch where it is the first."""
    fixed = []
    for position, size in enumerate(shape):
        if isinstance(size, int):
            fixed.append(size)
        elif size in axes:
            fixed.append(axes[size])
        elif position == 0:
            fixed.append(batch)
        else:
            advice = "give it under 'axes' in the profile"
            raise RefusedError("input", f"input {name!r} {shape} has no size for its axis {size!r}; {advice}")
    if fixed and fixed[0] != batch:
        raise RefusedError("input", f"input {name!r} has a batch of {fixed[0]}, the profile's 'batch' is {batch}")
    return fixed


def collect_nodes(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Node records from an ONNX Runtime trace in order of execution, with the microseconds of every run."""
    kernels = [e for e in events if e.get("cat") == "Node" and e["name"].endswith("_kernel_time")]
    kernels.sort(key=lambda event: (event["ts"], -event["dur"]))
    nodes: dict[Any, dict[str, Any]] = {}
    outer_end = -1
    for event in kernels:
        end = event["ts"] + event["dur"]
        if event["ts"] < outer_end and end <= outer_end:
            continue  # inside a Loop or If, whose own time holds it already
        outer_end = end
        details = event["args"]
        key = (details.get("node_index"), event["name"])
        if key not in nodes:
            nodes[key] = {
                "name": event["name"][: -len("_kernel_time")],
                "op": details["op_name"],
                "inputs": details["input_type_shape"],
                "outputs": details["output_type_shape"],
                "activation_bytes": int(details["activation_size"]),
                "durations_us": [],
            }
        nodes[key]["durations_us"].append(event["dur"])
    return list(nodes.values())


def read_texts(pattern: str) -> list[str]:
    """The texts of all files that match; none where the kernel has no such file."""
    texts = []
    for path in Path("/").glob(pattern):
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


if __name__ == "__main__":
    main()
