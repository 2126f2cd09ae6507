"""PyTorch, on the CPU or on an NVIDIA GPU: a program that torch.export has written as a .pt2 file.

The CUDA variants are written after PyTorch's documentation (CUDA semantics: events, graphs) and have not run yet.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from deploy_prune.runtime.worker.feed import check_batch, make_array
from deploy_prune.runtime.worker.refusal import RefusedError

PRECISIONS = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}
# A graph is captured after this many runs on a side stream (PyTorch, CUDA semantics, "Whole-network capture").
RUNS_BEFORE_CAPTURE = 3


class TorchModel:
    """An exported program with random inputs, run as the profile's mode says.

    ``eager`` calls its operators one by one, ``compile`` gives it to torch.compile (which compiles in the first run),
    ``cuda_graph`` captures its kernels once and replays them.
    """

    def __init__(self, model: str, conditions: dict[str, Any], profiling: bool) -> None:
        if profiling:
            raise RefusedError("input", "PyTorch has no profile of layers here; it can be measured as a whole only")
        # read by the OpenMP library when it is loaded, with torch
        os.environ["OMP_WAIT_POLICY"] = "ACTIVE" if conditions["spinning"] else "PASSIVE"
        try:
            import torch
        except ImportError as error:
            raise RefusedError("missing", str(error)) from error
        self._torch, device, mode = torch, conditions["device"], conditions["mode"]
        if device == "cuda" and not torch.cuda.is_available():
            raise RefusedError("device", "PyTorch finds no NVIDIA GPU")
        torch.set_num_threads(conditions["threads"])
        torch.set_num_interop_threads(1)
        torch.backends.cudnn.allow_tf32 = False  # on unless switched off, and not fp32
        program = self._read(model)
        precision = self._check_precision(program, conditions["precision"])
        self._arguments = self._make_arguments(program, conditions["batch"], device)
        self.timer = "device events" if device == "cuda" else "host"
        self._call = self._prepare(move_program(program, device).module(), mode)
        self.device_ns: int | None = None
        self.description: dict[str, Any] = {
            "engine_version": torch.__version__,
            "provider": torch.cuda.get_device_name() if device == "cuda" else "cpu",
            "executed_precision": precision,
            "inputs": [f"{str(t.dtype)[len('torch.') :]}{list(t.shape)}" for t in self._arguments],
        }

    def run(self) -> None:
        """One inference, ended on the device; there ``device_ns`` is the time between two events around it."""
        torch = self._torch
        with torch.inference_mode():
            if self.timer == "host":
                self._call()
                return
            start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            self._call()
            stop.record()
            stop.synchronize()
            self.device_ns = round(start.elapsed_time(stop) * 1e6)  # elapsed_time is in milliseconds

    def after_run(self) -> None:
        """Nothing to keep."""

    def nodes(self) -> dict[str, Any]:
        """There are none."""
        raise RefusedError("input", "PyTorch has no profile of layers here")

    def _read(self, model: str) -> Any:
        try:
            return self._torch.export.load(model)
        except Exception as error:  # it reads archives of several kinds and passes on what each raises
            raise RefusedError("model", str(error)) from error

    def _check_precision(self, program: Any, wanted: str) -> str:
        """The type of the program's floating weights, which has to be the profile's precision."""
        tensors = program.state_dict.values()
        kinds = sorted({str(t.dtype)[len("torch.") :] for t in tensors if t.is_floating_point()})
        if kinds not in ([], [PRECISIONS[wanted]]):
            raise RefusedError("input", f"its weights are {' and '.join(kinds)}, the profile's 'precision' is {wanted}")
        return PRECISIONS[wanted]

    def _make_arguments(self, program: Any, batch: int, device: str) -> list[Any]:
        """Random tensors like the example inputs that the program was exported with."""
        examples, named = program.example_inputs
        if named or not all(isinstance(example, self._torch.Tensor) for example in examples):
            raise RefusedError("input", "its inputs are not tensors given by position; export it with such inputs")
        tensors = []
        for position, example in enumerate(examples):
            check_batch(str(position), list(example.shape), batch)
            # random numbers come from NumPy, which has no bfloat16
            kind = str(example.dtype)[len("torch.") :]
            array = make_array(str(position), "float32" if kind == "bfloat16" else kind, list(example.shape))
            tensors.append(self._torch.from_numpy(array).to(device, example.dtype))
        return tensors

    def _prepare(self, module: Any, mode: str) -> Callable[[], Any]:
        torch, arguments = self._torch, self._arguments
        if mode == "compile":
            compiled = torch.compile(module, dynamic=False)
            return lambda: compiled(*arguments)
        if mode == "eager":
            return lambda: module(*arguments)
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.inference_mode(), torch.cuda.stream(stream):
            for _ in range(RUNS_BEFORE_CAPTURE):
                module(*arguments)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.inference_mode(), torch.cuda.graph(graph):
            module(*arguments)
        replay: Callable[[], Any] = graph.replay
        return replay


def move_program(program: Any, device: str) -> Any:
    """A program on a device, whichever it was exported on: its weights, and the tensors that it makes by itself.

    A module's ``to`` would leave the latter, such as the cells of a detector's grid, where the export found them.
    """
    if device == "cpu":
        return program
    try:
        from torch.export.passes import move_to_device_pass
    except ImportError as error:
        raise RefusedError("device", "this PyTorch cannot move a program to a GPU; install a newer one") from error
    return move_to_device_pass(program, device)
