"""OpenVINO on the CPU."""

from __future__ import annotations

import math
from typing import Any

from deploy_prune.runtime.worker.feed import fix_shape, make_array
from deploy_prune.runtime.worker.refusal import RefusedError

PRECISIONS = {"fp32": "f32", "fp16": "f16", "bf16": "bf16", "int8": "f32"}  # int8: of what is not quantised
_INTEGERS = ("u8", "i8")
# element types -> NumPy's names, and the names in which node records give types (ONNX's)
NUMPY_TYPES = {"f64": "float64", "f32": "float32", "f16": "float16", "boolean": "bool", "u8": "uint8"}
NUMPY_TYPES.update({"i64": "int64", "i32": "int32", "i8": "int8"})
RECORD_TYPES = {**NUMPY_TYPES, "f64": "double", "f32": "float", "bf16": "bfloat16"}
# The engine gives each node's *average* since it compiled the model, in whole microseconds. The time of the n-th
# run is then known to n microseconds, so the model is compiled anew after this many runs.
RUNS_PER_COMPILATION = 12


class OpenVinoModel:
    """A model compiled for the CPU plugin with one stream, and an infer request with random inputs."""

    timer = "host"
    device_ns: int | None = None

    def __init__(self, model: str, conditions: dict[str, Any], profiling: bool) -> None:
        try:
            import openvino
        except ImportError as error:
            raise RefusedError("missing", str(error)) from error
        self._settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
            "INFERENCE_NUM_THREADS": conditions["threads"],
            # without this the engine takes bf16 where the processor has it, and says nothing
            "INFERENCE_PRECISION_HINT": PRECISIONS[conditions["precision"]],
            "ENABLE_CPU_PINNING": False,  # the operating system binds the process
            "CACHE_DIR": "",
            "PERF_COUNT": profiling,
        }
        self._core = openvino.Core()
        try:
            self._network = self._core.read_model(model)
        except RuntimeError as error:
            raise RefusedError("model", str(error)) from error
        shapes = {entry.any_name: read_shape(entry, conditions) for entry in self._network.inputs}
        self._network.reshape({name: openvino.PartialShape(shape) for name, shape in shapes.items()})
        self._tensors = []
        for entry in self._network.inputs:
            kind = entry.element_type.to_string()
            array = make_array(entry.any_name, NUMPY_TYPES.get(kind, kind), shapes[entry.any_name])
            self._tensors.append(openvino.Tensor(array))
        self._profiling, self._runs = profiling, 0
        self._names: list[str] = []  # of the nodes that have a counter; numbered anew by every compilation
        self._totals: list[int] = []
        self._records: list[list[int]] = []
        self._compile()
        self.description: dict[str, Any] = {
            "engine_version": openvino.__version__.partition("-")[0],
            "provider": ",".join(self._compiled.get_property("EXECUTION_DEVICES")),
            "executed_precision": self._check_precision(conditions["precision"]),
            "inputs": [f"{tensor.data.dtype}{list(tensor.shape)}" for tensor in self._tensors],
        }

    def run(self) -> None:
        """One inference; at one thread it runs in the calling thread."""
        self._request.infer()

    def after_run(self) -> None:
        """Keep what this run took in each node; called outside the time that is measured."""
        if self._profiling:
            self._note_durations()
            if self._runs > RUNS_PER_COMPILATION:
                self._compile()

    def nodes(self) -> dict[str, Any]:
        """The executed nodes in order, with the microseconds of every run and the layers that each computes."""
        if not self._profiling:
            raise RefusedError("input", "the model was loaded without profiling")
        executed = {name: self._records[k] for k, name in enumerate(self._names) if any(self._records[k])}
        ordered = map(describe_node, self._compiled.get_runtime_model().get_ordered_ops())
        nodes = [{**node, "durations_us": executed[node["name"]]} for node in ordered if node["name"] in executed]
        return {"nodes": nodes, "graph": None}

    def _compile(self) -> None:
        """Compile; with profiling also run once, so that averages begin after the first touch of the memory."""
        try:
            self._compiled = self._core.compile_model(self._network, "CPU", self._settings)
        except RuntimeError as error:
            raise RefusedError("model", str(error)) from error
        self._request = self._compiled.create_infer_request()
        for position, tensor in enumerate(self._tensors):
            self._request.set_input_tensor(position, tensor)
        if self._profiling:
            self._runs = 0
            self._request.infer()
            self._read_totals()

    def _note_durations(self) -> None:
        before = self._totals
        self._read_totals()
        if not self._records:
            self._records = [[] for _ in self._totals]
        for k, times in enumerate(self._records):
            times.append(self._totals[k] - before[k])

    def _read_totals(self) -> None:
        """Microseconds of every node since the compilation."""
        self._runs += 1
        counters = self._request.get_profiling_info()
        self._names = [counter.node_name for counter in counters]
        self._totals = [self._runs * round(counter.real_time.total_seconds() * 1e6) for counter in counters]

    def _check_precision(self, wanted: str) -> str:
        got: str = self._compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
        if got != PRECISIONS[wanted]:
            raise RefusedError("device", f"it runs in {got} on this processor, the profile's 'precision' is {wanted}")
        if wanted == "int8":
            ran = [read_info(op, "runtimePrecision") for op in self._compiled.get_runtime_model().get_ops()]
            if not any(kind in _INTEGERS for kind in ran):
                raise RefusedError("input", "none of its layers runs in INT8, as the profile's 'precision' asks")
            return f"int8, {got}"
        return got


def read_shape(entry: Any, conditions: dict[str, Any]) -> list[int]:
    """The sizes of an input; the engine does not keep the names of dynamic axes, so only the batch can be one."""
    axes = [f"axis {k}" if axis.is_dynamic else axis.get_length() for k, axis in enumerate(entry.partial_shape)]
    return fix_shape(entry.any_name, axes, conditions["batch"], conditions["axes"])


def describe_node(op: Any) -> dict[str, Any]:
    """A node record from the runtime model, without its durations.

    ``layers`` are the names that the engine gives to what this node computes, ``source`` is the node that it reads.
    """
    inputs = [port.get_source_output() for port in op.inputs()]
    activations = [tensor for tensor in inputs if read_info(tensor.get_node(), "layerType") != "Const"]
    return {
        "name": op.get_friendly_name(),
        "op": read_info(op, "layerType"),
        "layers": [name for name in read_info(op, "originalLayersNames").split(",") if name],
        "source": inputs[0].get_node().get_friendly_name() if inputs else None,
        "inputs": [read_tensor(tensor) for tensor in inputs],
        "outputs": [read_tensor(tensor) for tensor in op.outputs()],
        "activation_bytes": sum(math.prod(t.get_shape()) * t.get_element_type().size for t in activations),
    }


def read_info(op: Any, key: str) -> str:
    """What the runtime model says of a node."""
    text: str = op.get_rt_info()[key].astype(str)
    return text


def read_tensor(port: Any) -> dict[str, list[int]]:
    """``{"float": [1, 3, 8, 8]}``."""
    kind = port.get_element_type().to_string()
    return {RECORD_TYPES.get(kind, kind): list(port.get_shape())}
