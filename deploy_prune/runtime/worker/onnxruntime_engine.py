"""ONNX Runtime on the CPU."""

from __future__ import annotations

import base64
import json
import tempfile
from pathlib import Path
from typing import Any

from deploy_prune.runtime.worker.feed import fix_shape, make_array
from deploy_prune.runtime.worker.refusal import RefusedError

# "tensor(...)" -> NumPy; other types have the same name in both.
NUMPY_TYPES = {"float": "float32", "double": "float64"}


def import_onnxruntime() -> Any:
    """The package, which sends no telemetry from here."""
    try:
        import onnxruntime
    except ImportError as error:
        raise RefusedError("missing", str(error)) from error
    onnxruntime.disable_telemetry_events()
    return onnxruntime


def open_session(onnxruntime: Any, model: str, options: Any, providers: list[Any]) -> Any:
    """A session with the model; what it really runs on is the session's to say."""
    try:
        return onnxruntime.InferenceSession(model, options, providers=providers)
    except Exception as error:  # the engine's error classes differ between its versions
        raise RefusedError("model", str(error)) from error


def make_feed(session: Any, conditions: dict[str, Any]) -> dict[str, Any]:
    """Random arrays for a session's inputs, by their names."""
    feed = {}
    for entry in session.get_inputs():
        kind = entry.type[len("tensor(") : -1]
        shape = fix_shape(entry.name, entry.shape, conditions["batch"], conditions["axes"])
        feed[entry.name] = make_array(entry.name, NUMPY_TYPES.get(kind, kind), shape)
    return feed


class OnnxRuntimeModel:
    """A model in an ONNX Runtime session on the CPU, with its random inputs."""

    timer = "host"
    device_ns: int | None = None

    def __init__(self, model: str, conditions: dict[str, Any], profiling: bool) -> None:
        onnxruntime = import_onnxruntime()
        options = onnxruntime.SessionOptions()
        # removed when this process ends, whichever way its main function is left
        self._folder = tempfile.TemporaryDirectory(prefix="deploy-prune-") if profiling else None
        self._set_options(options, conditions)
        self._session = open_session(onnxruntime, model, options, ["CPUExecutionProvider"])
        self._feed = make_feed(self._session, conditions)
        self.description: dict[str, Any] = {
            "engine_version": onnxruntime.__version__,
            "provider": self._session.get_providers()[0],
            "executed_precision": None,  # that of the file; the engine does not say
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

    def after_run(self) -> None:
        """Nothing: the engine writes its own trace."""

    def nodes(self) -> dict[str, Any]:
        """End profiling: the engine's own times of each node in each run, and its optimised graph."""
        if self._folder is None:
            raise RefusedError("input", "the model was loaded without profiling")
        events = json.loads(Path(self._session.end_profiling()).read_text(encoding="utf-8"))
        graph = Path(self._folder.name, "optimised.onnx").read_bytes()
        return {"nodes": collect_nodes(events), "graph": base64.b64encode(graph).decode("ascii")}


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
