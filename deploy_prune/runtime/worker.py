"""The measuring process: one model, one engine, JSON lines in and out.

This file is sent as text to ``python -u -c ...`` on the machine that measures, so it stands alone: standard library
and the engine only, and it runs on Python 3.8. One request per line on stdin, one reply per line on stdout:

    {"id": 1, "do": "load", ...}  ->  {"id": 1, "result": {...}}  or  {"id": 1, "error": {"kind", "message"}}

Error kinds: ``missing`` (engine not installed), ``input`` (the request or the model's axes), ``model`` (the engine
refuses the file), ``failed`` (anything else). The end of stdin ends the process.
"""

from __future__ import annotations

import base64
import gc
import json
import os
import platform
import shutil
import sys
import tempfile
import time
import traceback

NUMPY_TYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(int64)": "int64",
    "tensor(int32)": "int32",
    "tensor(uint8)": "uint8",
    "tensor(int8)": "int8",
    "tensor(bool)": "bool",
}
INPUT_SEED = 0


class Refusal(Exception):
    """A request cannot be met; ``kind`` tells the client which error to raise."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class Worker:
    """Holds the loaded model between requests; each public method answers the request of its name."""

    def __init__(self) -> None:
        self.session = None
        self.feed = {}
        self.folder = None

    def load(
        self,
        model: str,
        threads: int,
        spinning: bool,
        affinity: list | None,
        optimisation: str,
        batch: int,
        axes: dict,
        profiling: bool,
    ) -> dict:
        """Create the session and its random inputs; with ``profiling`` the engine times its own nodes."""
        if affinity:
            os.sched_setaffinity(0, affinity)
        try:
            import onnxruntime
        except ImportError as error:
            raise Refusal("missing", str(error)) from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.graph_optimization_level = {
            "none": onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL,
            "all": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
        }[optimisation]
        options.add_session_config_entry("session.intra_op.allow_spinning", "1" if spinning else "0")
        if affinity and threads > 1:
            # 1-based, for the pool threads only: the calling thread is bound by sched_setaffinity above
            pool = [str(affinity[k % len(affinity)] + 1) for k in range(1, threads)]
            options.add_session_config_entry("session.intra_op_thread_affinities", ";".join(pool))
        options.log_severity_level = 3
        if profiling:
            self._profile_into_folder(options)
        try:
            self.session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise Refusal("model", str(error)) from error
        self.feed = make_feed(self.session.get_inputs(), batch, axes)
        return {
            "engine_version": onnxruntime.__version__,
            "provider": self.session.get_providers()[0],
            "python": platform.python_version(),
            "inputs": ["%s%s" % (a.dtype, list(a.shape)) for a in self.feed.values()],
        }

    def _profile_into_folder(self, options: object) -> None:
        self.folder = tempfile.mkdtemp(prefix="deploy-prune-")
        options.enable_profiling = True
        options.profile_file_prefix = os.path.join(self.folder, "trace")
        options.optimized_model_filepath = os.path.join(self.folder, "optimised.onnx")
        # weights go to a file of their own, so that the graph is small enough to be sent
        options.add_session_config_entry("session.optimized_model_external_initializers_file_name", "weights")
        options.add_session_config_entry(
            "session.optimized_model_external_initializers_min_size_in_bytes", "0"
        )

    def run(self, runs: int, max_s: float) -> dict:
        """Time up to ``runs`` runs, at least one, ending after ``max_s`` seconds; raw nanoseconds."""
        session, feed, clock = self._loaded(), self.feed, time.perf_counter_ns
        samples = []
        end = clock() + int(max_s * 1e9)
        gc.disable()
        try:
            for _ in range(runs):
                start = clock()
                session.run(None, feed)
                stop = clock()
                samples.append(stop - start)
                if stop > end:
                    break
        finally:
            gc.enable()
        return {"samples_ns": samples}

    def nodes(self) -> dict:
        """End profiling: the engine's own times of each node in each run, and its optimised graph."""
        if self.folder is None:
            raise Refusal("input", "the model was loaded without profiling")
        with open(self._loaded().end_profiling(), encoding="utf-8") as file:
            nodes = collect_nodes(json.load(file))
        with open(os.path.join(self.folder, "optimised.onnx"), "rb") as file:
            graph = base64.b64encode(file.read()).decode("ascii")
        return {"nodes": nodes, "graph": graph}

    def state(self) -> dict:
        """Counters that tell how busy the machine is and how long this process waited for a core."""
        return {
            "time_s": time.perf_counter(),
            "own_cpu_s": time.process_time(),
            "own_wait_s": read_wait_s(),
            "cpu_s": read_cpu_s(),
            "load_average": read_first_number("/proc/loadavg"),
            "pressure": read_pressure(),
            "frequency_hz": read_frequency_hz(),
        }

    def close(self) -> dict:
        """Drop the session and its files."""
        self.session = None
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)
        return {}

    def _loaded(self) -> object:
        if self.session is None:
            raise Refusal("input", "no model is loaded")
        return self.session


def make_feed(inputs: list, batch: int, axes: dict) -> dict:
    """Uniform random arrays of each input's shape and type, the same for every worker."""
    import numpy

    random = numpy.random.default_rng(INPUT_SEED)
    feed = {}
    for tensor in inputs:
        if tensor.type not in NUMPY_TYPES:
            raise Refusal(
                "input", "input %r has the type %s, which cannot be filled" % (tensor.name, tensor.type)
            )
        shape = fix_shape(tensor.name, tensor.shape, batch, axes)
        kind = NUMPY_TYPES[tensor.type]
        if kind.startswith("float"):
            feed[tensor.name] = random.random(shape).astype(kind)
        else:
            # 0 and 1 are valid as token, index and mask alike
            feed[tensor.name] = random.integers(0, 2, shape).astype(kind)
    return feed


def fix_shape(name: str, shape: list, batch: int, axes: dict) -> list:
    """Give every dynamic axis its size: the batch for the first, ``axes`` by name for the others."""
    fixed = []
    for position, size in enumerate(shape):
        if isinstance(size, int):
            fixed.append(size)
        elif size in axes:
            fixed.append(axes[size])
        elif position == 0:
            fixed.append(batch)
        else:
            raise Refusal(
                "input",
                "input %r has the dynamic axis %r (axis %d of %s) and no size for it"
                % (name, size, position, shape),
            )
    if fixed and fixed[0] != batch:
        raise Refusal(
            "input", "input %r has a batch of %d, the profile asks for %d" % (name, fixed[0], batch)
        )
    return fixed


def collect_nodes(events: list) -> list:
    """Node records from an ONNX Runtime trace in order of execution, with the microseconds of every run."""
    kernels = [e for e in events if e.get("cat") == "Node" and e["name"].endswith("_kernel_time")]
    kernels.sort(key=lambda e: (e["ts"], -e["dur"]))
    nodes = {}
    outer_end = -1
    for event in kernels:
        end = event["ts"] + event["dur"]
        if event["ts"] < outer_end and end <= outer_end:
            continue  # inside a Loop or If, whose own time already holds it
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


def read_text(path: str) -> str | None:
    """The file's text, or None where the kernel has no such file."""
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except OSError:
        return None


def read_first_number(path: str) -> float | None:
    """The first word of a file as a number."""
    text = read_text(path)
    return float(text.split()[0]) if text else None


def read_wait_s() -> float | None:
    """Seconds that this process's threads were ready to run and had no core (``schedstat``, second field)."""
    total = None
    folder = "/proc/self/task"
    for task in os.listdir(folder) if os.path.isdir(folder) else []:
        text = read_text("%s/%s/schedstat" % (folder, task))
        if text:
            total = (total or 0.0) + int(text.split()[1]) / 1e9
    return total


def read_cpu_s() -> dict | None:
    """Seconds of all cores since boot: busy with processes, and stolen by the hypervisor."""
    text = read_text("/proc/stat")
    if not text:
        return None
    user, nice, system, _, _, irq, softirq, steal = [int(x) for x in text.splitlines()[0].split()[1:9]]
    tick_s = 1.0 / os.sysconf("SC_CLK_TCK")
    return {"busy": (user + nice + system + irq + softirq) * tick_s, "stolen": steal * tick_s}


def read_pressure() -> float | None:
    """Percent of the last 10 s in which some task waited for a core ("some avg10")."""
    text = read_text("/proc/pressure/cpu")
    return float(text.split("avg10=")[1].split()[0]) if text else None


def read_frequency_hz() -> int | None:
    """The highest current clock of the cores, where the kernel tells."""
    clocks = []
    for core in range(os.cpu_count() or 1):
        text = read_text("/sys/devices/system/cpu/cpu%d/cpufreq/scaling_cur_freq" % core)
        if text:
            clocks.append(int(text) * 1000)
    return max(clocks) if clocks else None


def answer(worker: Worker, request: dict) -> dict:
    """The reply to one request; every failure becomes an error reply."""
    try:
        arguments = {key: value for key, value in request.items() if key not in ("id", "do")}
        if request["do"] not in ("load", "run", "nodes", "state", "close"):
            raise Refusal("input", "unknown request %r" % request["do"])
        return {"id": request["id"], "result": getattr(worker, request["do"])(**arguments)}
    except Refusal as refusal:
        return {"id": request["id"], "error": {"kind": refusal.kind, "message": str(refusal)}}
    except Exception as error:
        traceback.print_exc()
        return {
            "id": request["id"],
            "error": {"kind": "failed", "message": "%s: %s" % (type(error).__name__, error)},
        }


def main() -> None:
    """Answer requests until stdin ends or ``close`` is asked for."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # prints of engines written in C go to stderr and cannot corrupt the protocol
    worker = Worker()
    try:
        for line in sys.stdin.buffer:
            request = json.loads(line.decode("utf-8"))
            out.write(json.dumps(answer(worker, request)) + "\n")
            out.flush()
            if request["do"] == "close":
                break
    except BrokenPipeError:
        pass  # the client is gone; nobody is left to answer
    finally:
        worker.close()


if __name__ == "__main__":
    main()
