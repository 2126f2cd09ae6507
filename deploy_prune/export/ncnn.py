"""ncnn: a ``.ncnn.param`` file with the graph and a ``.ncnn.bin`` file with the weights, made by pnnx from ONNX."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deploy_prune.errors import ExportError, MissingDependencyError

SUFFIX = ".ncnn.param"
TIMEOUT_S = 600.0


def write_ncnn(source: Path, target: Path, shape: Sequence[int], *, float16: bool = False) -> Path:
    """Convert an ONNX file of the fixed input ``shape`` (1, ...); with ``float16`` weights are stored in half.

    The files have no batch axis. Their inputs are ``in0``, ``in1``, ... and their outputs ``out0``, ``out1``, ...

    Args:
        source: the ONNX file.
        target: the file with the graph, which ends in ``.ncnn.param``; that with the weights is put beside it.
        shape: of the one input.
        float16: half of the size; whether ncnn then computes in float16 too, its options say.

    Raises:
        ExportError: pnnx refuses the file.
        MissingDependencyError: pnnx is not installed.
    """
    try:
        import pnnx
    except ImportError as error:
        raise MissingDependencyError("ncnn's files need pnnx; run: pip install 'deploy_prune[ncnn]'") from error
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as folder:
        shutil.copyfile(source, Path(folder) / "model.onnx")  # it writes nine files beside what it reads
        sizes = ",".join(map(str, shape))
        command = [pnnx.EXEC_PATH, "model.onnx", f"inputshape=[{sizes}]", f"fp16={int(float16)}"]
        try:
            done = subprocess.run(
                command, cwd=folder, capture_output=True, text=True, errors="replace", timeout=TIMEOUT_S, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise ExportError(f"pnnx did not convert {source.name} within {TIMEOUT_S:g} s") from error
        graph, weights = (Path(folder) / f"model.ncnn.{end}" for end in ("param", "bin"))
        if done.returncode or not (graph.is_file() and weights.is_file()):
            said = [line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip()]
            reason = said[-1] if said else f"exit code {done.returncode}"
            raise ExportError(f"pnnx cannot convert {source.name}: {reason}")
        weights.replace(weights_of(target))
        return graph.replace(target)


def weights_of(graph: Path) -> Path:
    """The file of weights that belongs to a graph."""
    return graph.with_suffix(".bin")


def open_ncnn(path: Path) -> Callable[[NDArray[np.float32]], list[NDArray[np.float32]]]:
    """The function that the files compute on the CPU in float32, for one input (1, ...); outputs get their batch back.

    Raises:
        ExportError: ncnn cannot read the files, or run them.
        MissingDependencyError: ncnn is not installed.
    """
    try:
        import ncnn
    except ImportError as error:
        raise MissingDependencyError("ncnn's files need ncnn; run: pip install 'deploy_prune[ncnn]'") from error
    net = ncnn.Net()
    for option in ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic", "use_bf16_storage"):
        setattr(net.opt, option, False)
    if net.load_param(str(path)) or net.load_model(str(weights_of(path))):
        raise ExportError(f"{path} is not a model that ncnn can open; export it again")
    names = sorted(net.output_names(), key=lambda name: int(name.removeprefix("out")))

    def run(data: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        extractor: Any = net.create_extractor()
        extractor.input(net.input_names()[0], ncnn.Mat(np.ascontiguousarray(data[0])).clone())
        found = []
        for name in names:
            code, output = extractor.extract(name)
            if code:
                raise ExportError(f"ncnn cannot run {path.name}: it has no {name} for this input")
            found.append(np.array(output)[None])
        return found

    return run
