"""TensorRT through its Python bindings, for machines that have these and no trtexec, such as after pip.

Only names that 8.6, 10.3, 10.13, 10.16 and 11.4 have in common are used, or guarded by the version; the contract test
asks the bindings of each. Nothing here has run on a GPU yet.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy_prune.runtime.worker.cuda_runtime import Cuda, device_name
from deploy_prune.runtime.worker.feed import fix_shape, make_array
from deploy_prune.runtime.worker.refusal import RefusedError
from deploy_prune.runtime.worker.tensorrt_cache import (
    ENGINE,
    build_once,
    describe_source,
    engine_key,
    forget,
    open_cache,
)
from deploy_prune.runtime.worker.tensorrt_flags import check_settings
from deploy_prune.runtime.worker.tensorrt_reports import check_precision, join_times, read_layers, read_log
from deploy_prune.runtime.worker.trtexec_engine import end_with_parent

LOG, ANSWER = "build.log", "answer.json"
CHOICES = ("typing", "dla_core", "optimization_level", "workspace_mib")
_MIB = 1 << 20


class TensorRtModel:
    """An engine built from the model, with its buffers on the device, launched on a stream of its own.

    Kernels are launched one by one, not by a CUDA graph as trtexec does, so times of the two ways do not compare.
    """

    timer = "device events"

    def __init__(self, model: str, conditions: dict[str, Any], profiling: bool) -> None:
        try:
            import tensorrt
        except ImportError as error:
            raise RefusedError("missing", str(error)) from error
        self._trt = tensorrt
        settings, precision = conditions["tensorrt"], conditions["precision"]
        check_settings(read_version(tensorrt), precision, settings)
        self._shapes = {
            name: fix_shape(name, shape, conditions["batch"], conditions["axes"])
            for name, _, shape in conditions["inputs"]
        }
        choices = [f"precision={precision}", *(f"{name}={settings[name]}" for name in CHOICES)]
        folder = open_cache(settings)
        place = folder / engine_key(model, tensorrt.__version__, ["python", *choices, self._shapes])
        timing_cache = folder / f"timing-{tensorrt.__version__}-python.cache"
        dynamic = {
            name: self._shapes[name]
            for name, _, shape in conditions["inputs"]
            if not all(isinstance(size, int) for size in shape)
        }
        request = BuildRequest(model, precision, settings, dynamic, timing_cache)

        def build(target: Path) -> dict[str, Any]:
            source = describe_source(model, tensorrt.__version__)
            return {**build_in_child(tensorrt, request, target), "flags": choices, **source}

        facts = build_once(place, build)
        self._cuda = Cuda()  # behind the build: a process that has started CUDA cannot be forked
        self._load(place, settings)
        self.device_ns: int | None = None
        self._profiler = make_profiler(tensorrt) if profiling else None
        if self._profiler is not None:
            self._context.profiler = self._profiler
        self.description: dict[str, Any] = {
            "engine_version": tensorrt.__version__,
            "provider": facts["gpu"],
            "executed_precision": check_precision(self._layers, precision, settings["typing"]),
            "inputs": [f"{kind}{self._shapes[name]}" for name, kind, _ in conditions["inputs"]],
            "build": {**facts, "layers": len(self._layers), "context_bytes": self._context_bytes},
        }

    def run(self) -> None:
        """One inference; ``device_ns`` is the time between two events around it. With a profiler it is synchronous."""
        self._cuda.record_start()
        if not self._context.execute_async_v3(self._cuda.stream.value):
            raise RefusedError("failed", "the engine refused to run; the log of the worker says why")
        self.device_ns = self._cuda.wait_ns()

    def after_run(self) -> None:
        """Keep what this run took in each layer."""
        if self._profiler is not None:
            self._profiler.end_run()

    def nodes(self) -> dict[str, Any]:
        """The layers in order of execution, with the microseconds of every run."""
        if self._profiler is None:
            raise RefusedError("input", "the model was loaded without profiling")
        return {"nodes": join_times(self._layers, self._profiler.layers), "graph": None}

    def _load(self, place: Path, settings: dict[str, Any]) -> None:
        """Load the engine, make its context, give every input and output its memory, and have the layers described."""
        trt, before = self._trt, self._cuda.free_bytes()
        self._logger = make_logger(trt)  # has to live as long as the engine
        trt.init_libnvinfer_plugins(self._logger, "")
        runtime = trt.Runtime(self._logger)
        if settings["dla_core"] is not None:
            runtime.DLA_core = settings["dla_core"]
        engine = runtime.deserialize_cuda_engine((place / ENGINE).read_bytes())
        if engine is None:
            forget(place)
            raise RefusedError("failed", "the engine that was built earlier cannot be loaded and is removed; try again")
        context = engine.create_execution_context()
        if context is None:
            raise RefusedError("failed", "no memory for the engine's context")
        self._context_bytes = before - self._cuda.free_bytes()
        self._runtime, self._engine, self._context = runtime, engine, context
        names = [engine.get_tensor_name(position) for position in range(engine.num_io_tensors)]
        inputs = [name for name in names if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT]
        for name in inputs:
            context.set_input_shape(name, self._shapes[name])
        for name in names:
            self._place(name, is_input=name in inputs)
        inspector = engine.create_engine_inspector()
        inspector.execution_context = context  # with it the sizes of dynamic inputs are known
        self._layers = read_layers(inspector.get_engine_information(trt.LayerInformationFormat.JSON))

    def _place(self, name: str, *, is_input: bool) -> None:
        import numpy

        try:
            kind = numpy.dtype(self._trt.nptype(self._engine.get_tensor_dtype(name)))
        except TypeError as error:
            raise RefusedError("input", f"NumPy has no type like that of {name!r} ({error})") from error
        shape = list(self._context.get_tensor_shape(name))
        if min(shape, default=0) < 0:
            reason = f"the size of output {name!r}, {shape}, depends on the data"
            raise RefusedError("input", f"{reason}; measure with 'mode: trtexec', or export without NMS")
        address = self._cuda.allocate(int(numpy.prod(shape)) * kind.itemsize)
        self._context.set_tensor_address(name, address)
        if is_input:
            self._cuda.copy_in(address, make_array(name, kind.name, shape))


@dataclass(frozen=True)
class BuildRequest:
    """What an engine is to be built from, and how; ``shapes`` has the inputs that have a dynamic axis."""

    model: str
    precision: str
    settings: dict[str, Any]
    shapes: dict[str, list[int]]
    timing_cache: Path


def read_version(trt: Any) -> tuple[int, int, int]:
    """``10.13.3.9`` is (10, 13, 3)."""
    major, minor, patch = (int(part) for part in trt.__version__.split(".")[:3])
    return major, minor, patch


def build_in_child(trt: Any, request: BuildRequest, target: Path) -> dict[str, Any]:
    """Build in a process of its own, which may be ended, and whose CUDA errors end with it; see ``build_once``."""
    start, limit_s = time.monotonic(), request.settings["build_timeout_s"]
    child = multiprocessing.get_context("fork").Process(target=answer_build, args=(trt, request, target))
    child.start()
    child.join(limit_s)
    if child.is_alive():
        child.kill()
        child.join()
        advice = "set a longer 'build_timeout_s' under 'tensorrt' in the profile"
        raise RefusedError("failed", f"the build took longer than {limit_s:g} s and was ended; {advice}")
    if not (target / ANSWER).is_file():
        raise RefusedError("failed", f"the building process died (exit code {child.exitcode})")
    answer = json.loads((target / ANSWER).read_text(encoding="utf-8"))
    if "error" in answer:
        raise RefusedError(*answer["error"])
    log = read_log((target / LOG).read_text(encoding="utf-8"))
    return {
        "gpu": answer["gpu"],
        "seconds": round(time.monotonic() - start, 3),
        "dla_layers": list(log.dla_layers),
        "gpu_layers": list(log.gpu_layers),
        "fallback": list(log.fallback),
    }


def answer_build(trt: Any, request: BuildRequest, target: Path) -> None:
    """Runs in the child: build, and leave an answer or a refusal in a file."""
    end_with_parent()
    logger = make_logger(trt)
    try:
        build_engine(trt, logger, request, target)
        answer: dict[str, Any] = {"gpu": device_name() or "unknown"}
    except RefusedError as refused:
        answer = {"error": [refused.kind, str(refused)]}
    (target / LOG).write_text("\n".join(logger.lines), encoding="utf-8")
    (target / ANSWER).write_text(json.dumps(answer), encoding="utf-8")


def build_engine(trt: Any, logger: Any, request: BuildRequest, target: Path) -> None:
    """Parse the model, build its engine, and write engine and timing cache."""
    trt.init_libnvinfer_plugins(logger, "")
    builder = trt.Builder(logger)
    network = builder.create_network(network_flags(trt, request.settings["typing"]))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(request.model):
        errors = [str(parser.get_error(position)) for position in range(parser.num_errors)]
        raise RefusedError("model", errors[0] if errors else "it cannot be parsed")
    config = builder.create_builder_config()
    set_choices(trt, config, request)
    if request.shapes:
        profile = builder.create_optimization_profile()
        for name, shape in request.shapes.items():
            profile.set_shape(name, shape, shape, shape)
        config.add_optimization_profile(profile)
    old = request.timing_cache.read_bytes() if request.timing_cache.is_file() else b""
    config.set_timing_cache(config.create_timing_cache(old), False)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        errors = list(read_log("\n".join(logger.lines)).errors)
        raise RefusedError("model", errors[0] if errors else "no engine could be built")
    (target / ENGINE).write_bytes(bytes(plan))
    temporary = request.timing_cache.with_name(f".{request.timing_cache.name}.{os.getpid()}")
    cache = config.get_timing_cache()
    temporary.write_bytes(bytes(cache.serialize()))
    temporary.replace(request.timing_cache)


def network_flags(trt: Any, typing: str) -> int:
    """Bits of ``create_network``: an explicit batch, the only way since 10; types of the file where asked for."""
    kinds = trt.NetworkDefinitionCreationFlag
    explicit = 1 << int(kinds.EXPLICIT_BATCH) if read_version(trt)[0] < 10 else 0
    return explicit | (1 << int(kinds.STRONGLY_TYPED) if typing == "strong" else 0)


def set_choices(trt: Any, config: Any, request: BuildRequest) -> None:
    """The same choices as the flags of ``tensorrt_flags.build_arguments``."""
    settings, precision = request.settings, request.precision
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    config.builder_optimization_level = settings["optimization_level"]
    if settings["workspace_mib"] is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, settings["workspace_mib"] * _MIB)
    if precision == "fp32":
        config.clear_flag(trt.BuilderFlag.TF32)
    if settings["typing"] == "weak":
        if precision != "fp32":
            config.set_flag(trt.BuilderFlag.FP16)
        if precision == "int8":
            config.set_flag(trt.BuilderFlag.INT8)
    if settings["dla_core"] is not None:
        config.default_device_type = trt.DeviceType.DLA
        config.DLA_core = settings["dla_core"]
        config.set_flag(trt.BuilderFlag.GPU_FALLBACK)


def make_logger(trt: Any) -> Any:
    """A logger that keeps its lines as trtexec prints them; the class cannot be written before the import."""

    class Lines(trt.ILogger):
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.lines: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            letter = "E" if "ERROR" in severity.name else severity.name[0]
            self.lines.append(f"[{letter}] [TRT] {message}")

    return Lines()


def make_profiler(trt: Any) -> Any:
    """A profiler that keeps the milliseconds of each layer as microseconds of every run."""

    class Layers(trt.IProfiler):
        def __init__(self) -> None:
            trt.IProfiler.__init__(self)
            self.layers: list[tuple[str, list[float]]] = []
            self._run: list[tuple[str, float]] = []

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            self._run.append((layer_name, 1e3 * ms))

        def end_run(self) -> None:
            if not self.layers:
                self.layers = [(name, []) for name, _ in self._run]
            for (_, times), (_, time_us) in zip(self.layers, self._run):  # noqa: B905 - Python 3.8 has no strict
                times.append(time_us)
            self._run = []

    return Layers()
