"""ONNX Runtime on an NVIDIA GPU: every node there or none, and times between two events of CUDA.

Options are those of ONNX Runtime's pages "CUDA Execution Provider" and "I/O Binding" and of its header of run options.
That it falls back to the CPU without a word has been met and is refused; nothing has run on a GPU yet.
"""

from __future__ import annotations

import ctypes
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deploy_prune.runtime.worker.cuda_runtime import Cuda, device_name
from deploy_prune.runtime.worker.onnxruntime_engine import import_onnxruntime, make_feed, open_session
from deploy_prune.runtime.worker.refusal import RefusedError

PROVIDER = "CUDAExecutionProvider"
LIBRARY = "libonnxruntime_providers_cuda.so"
SHOWN_NODES = 5


class OnnxRuntimeCudaModel:
    """A model in a session whose nodes are all on the GPU, as are its inputs and outputs.

    A run is what lies between two events on the stream that the session computes on: kernels and the gaps between
    them, no copies from and to the host. TF32 is off, so that fp32 means fp32.
    """

    timer = "device events"

    def __init__(self, model: str, conditions: dict[str, Any], profiling: bool) -> None:
        if profiling:
            reason = "ONNX Runtime's times of nodes end when a kernel is launched, not when the GPU has computed it"
            raise RefusedError("input", f"{reason}; a model can be measured as a whole only")
        onnxruntime = import_onnxruntime()
        load_libraries(onnxruntime)
        self._cuda = Cuda()
        with tempfile.TemporaryDirectory(prefix="deploy-prune-") as folder:
            options = onnxruntime.SessionOptions()
            options.log_severity_level = 3
            options.intra_op_num_threads, options.inter_op_num_threads = conditions["threads"], 1
            # of the first run, for the nodes' places; once it has ended it costs nothing (on a CPU 28.5 µs, as without)
            options.enable_profiling = True
            options.profile_file_prefix = str(Path(folder, "trace"))
            stream = {"user_compute_stream": str(self._cuda.stream.value), "use_tf32": "0"}
            self._session = open_session(onnxruntime, model, options, [(PROVIDER, stream)])
            require_provider(onnxruntime, self._session.get_providers())
            feed = make_feed(self._session, conditions)
            self._binding = bind_on("cuda", onnxruntime, self._session, feed)
            self._run_options = onnxruntime.RunOptions()
            self._session.run_with_iobinding(self._binding, self._run_options)
            events = json.loads(Path(self._session.end_profiling()).read_text(encoding="utf-8"))
        require_all_on_gpu(events)
        # the event behind the run is what waits for the GPU
        self._run_options.add_run_config_entry("disable_synchronize_execution_providers", "1")
        self.device_ns: int | None = None
        self.description: dict[str, Any] = {
            "engine_version": onnxruntime.__version__,
            "provider": f"{PROVIDER} on {device_name() or 'an unknown GPU'}",
            "executed_precision": None,  # that of the file; the engine does not say
            "inputs": [f"{array.dtype}{list(array.shape)}" for array in feed.values()],
        }

    def run(self) -> None:
        """One inference, ended on the device; ``device_ns`` is the time between the events around it."""
        self._cuda.record_start()
        self._session.run_with_iobinding(self._binding, self._run_options)
        self.device_ns = self._cuda.wait_ns()

    def after_run(self) -> None:
        """Nothing to keep."""

    def nodes(self) -> dict[str, Any]:
        """There are none."""
        raise RefusedError("input", "ONNX Runtime has no profile of layers on a GPU here")


def bind_on(device: str, onnxruntime: Any, session: Any, feed: dict[str, Any]) -> Any:
    """Inputs on a device, where they stay, and outputs that are left there."""
    binding = session.io_binding()
    for name, array in feed.items():
        binding.bind_ortvalue_input(name, onnxruntime.OrtValue.ortvalue_from_numpy(array, device, 0))
    for entry in session.get_outputs():
        binding.bind_output(entry.name, device, 0)
    return binding


def load_libraries(onnxruntime: Any) -> None:
    """Refuse a package without CUDA; load CUDA's and cuDNN's libraries where pip has installed them."""
    version, there = onnxruntime.__version__, onnxruntime.get_available_providers()
    if PROVIDER not in there:
        advice = "pip uninstall onnxruntime, then pip install 'onnxruntime-gpu[cuda,cudnn]'"
        raise RefusedError(
            "device", f"this ONNX Runtime {version} is built without CUDA ({', '.join(there)}): {advice}"
        )
    if hasattr(onnxruntime, "preload_dlls"):  # since 1.21; before, they have to be on the system's path
        onnxruntime.preload_dlls()


def require_provider(onnxruntime: Any, providers: Sequence[str]) -> None:
    """Refuse a session that has fallen back to the CPU, which ONNX Runtime only logs."""
    if PROVIDER in providers:
        return
    library = Path(onnxruntime.__file__).parent / "capi" / LIBRARY
    try:
        ctypes.CDLL(str(library))
        reason = "its library can be loaded; is the driver new enough for its CUDA?"
    except OSError as error:
        reason = str(error)
    fell_back = (
        f"ONNX Runtime {onnxruntime.__version__} cannot start CUDA and would fall back to {', '.join(providers)}"
    )
    raise RefusedError("device", f"{fell_back}: {reason}")


def require_all_on_gpu(events: Sequence[dict[str, Any]]) -> None:
    """Refuse a model of which ONNX Runtime has placed nodes elsewhere, by the trace of one run."""
    places = {
        f"{event['name'][: -len('_kernel_time')]} ({event['args']['op_name']})": event["args"]["provider"]
        for event in events
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time")
    }
    if not places:
        raise RefusedError("failed", "ONNX Runtime's trace of a run names no nodes, so where they run is not known")
    strays = [node for node, provider in places.items() if provider != PROVIDER]
    if strays:
        shown = ", ".join(strays[:SHOWN_NODES])
        more = f" and {len(strays) - SHOWN_NODES} more" if len(strays) > SHOWN_NODES else ""
        where = " and ".join(sorted({places[node] for node in strays}))
        advice = "export it with fixed sizes and operators that this provider has, or measure it on the CPU"
        message = f"{len(strays)} of {len(places)} nodes would run on {where}, not the GPU: {shown}{more}; {advice}"
        raise RefusedError("input", message)
