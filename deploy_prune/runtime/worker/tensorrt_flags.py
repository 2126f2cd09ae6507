"""The command line of trtexec in every version that can be met, and how to ask each for the same measurement.

Every flag was looked up in trtexec's own source, the file samples/common/sampleOptions.cpp of NVIDIA/TensorRT, at the
tags v8.6.0 to v11.1. None of these commands has been run by a real trtexec yet.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from deploy_prune.runtime.worker.refusal import RefusedError

# Seen in JetPack 5.1: 8.5 has neither --skipInference nor --builderOptimizationLevel.
OLDEST = (8, 6)
# Explicit types in the file are the only way from here on, and trtexec's defaults are others.
REDEFINED = (11, 0)
# Milliseconds of runs before those that count, trtexec's own default in every version.
WARM_UP_MS = 200
_BANNER = re.compile(r"TensorRT\.trtexec \[TensorRT v(\d+)\]")


@dataclass(frozen=True)
class Flag:
    """The versions that take a flag: from ``first`` on and before ``end`` (None: still there in 11.1)."""

    first: tuple[int, int]
    end: tuple[int, int] | None
    purpose: str

    def exists_in(self, version: tuple[int, ...]) -> bool:
        """Whether a version takes it."""
        return self.first <= version[:2] and (self.end is None or version[:2] < self.end)


FLAGS = {
    "--onnx": Flag(OLDEST, None, "the model to build an engine from"),
    "--saveEngine": Flag(OLDEST, None, "where the engine is written"),
    "--loadEngine": Flag(OLDEST, None, "the engine to run"),
    "--skipInference": Flag(OLDEST, None, "build only; before 8.6 it was --buildOnly"),
    "--timingCacheFile": Flag(OLDEST, None, "kernel timings of earlier builds, read and written"),
    "--profilingVerbosity": Flag(OLDEST, None, "detailed: the engine keeps shapes and types of its layers"),
    "--builderOptimizationLevel": Flag(OLDEST, None, "0 to 5; how long the builder searches"),
    "--memPoolSize": Flag(OLDEST, None, "workspace in MiB"),
    "--minShapes": Flag(OLDEST, None, "dynamic inputs: the smallest size, here the only one"),
    "--optShapes": Flag(OLDEST, None, "dynamic inputs: the size to optimise for"),
    "--maxShapes": Flag(OLDEST, None, "dynamic inputs: the largest size"),
    "--shapes": Flag(OLDEST, None, "dynamic inputs: the size to run"),
    "--noTF32": Flag(OLDEST, None, "fp32 means fp32"),
    "--fp16": Flag(OLDEST, REDEFINED, "weak typing: fp16 kernels are allowed"),
    "--int8": Flag(OLDEST, REDEFINED, "weak typing: int8 kernels are allowed"),
    "--stronglyTyped": Flag((10, 0), None, "types are those of the file; from 11.0 on without effect, and not given"),
    "--useDLACore": Flag(OLDEST, None, "the DLA core to run on"),
    "--allowGPUFallback": Flag(OLDEST, None, "what the DLA cannot do runs on the GPU"),
    "--warmUp": Flag(OLDEST, None, "milliseconds of runs that do not count"),
    "--duration": Flag(OLDEST, None, "seconds to measure at least; 0 leaves it to --iterations"),
    "--iterations": Flag(OLDEST, None, "runs to measure at least"),
    "--noDataTransfers": Flag(OLDEST, None, "inputs stay on the device; from 11.0 on the default, and not given"),
    "--useSpinWait": Flag(OLDEST, None, "wait without sleeping; from 11.0 on the default, and not given"),
    "--useCudaGraph": Flag(OLDEST, None, "launch by a CUDA graph; from 11.0 on the default, and not given"),
    "--separateProfileRun": Flag(OLDEST, None, "time layers in a run of their own; from 11.0 on always, and not given"),
    "--noCudaGraph": Flag(REDEFINED, None, "undoes the default of 11.0, for the DLA"),
    "--exportTimes": Flag(OLDEST, None, "the file of single runs"),
    "--exportProfile": Flag(OLDEST, None, "the file of layer times"),
    "--exportLayerInfo": Flag(OLDEST, None, "the file that describes the layers"),
}
_PATHS = ("--onnx", "--saveEngine", "--loadEngine", "--timingCacheFile")
_SAME_MEASUREMENT = ("--noDataTransfers", "--useSpinWait")


def parse_version(output: str) -> tuple[int, int, int]:
    """The version in the banner of trtexec: ``[TensorRT v8601]`` is 8.6.1, ``v101303`` is 10.13.3.

    Versions before 10 are numbered by thousands and hundreds, later ones by ten thousands and hundreds
    (NV_TENSORRT_VERSION in NvInferVersion.h).
    """
    found = _BANNER.search(output)
    if found is None:
        raise RefusedError("device", "trtexec does not say its version; is it NVIDIA's?")
    number = int(found.group(1))
    major, rest = divmod(number, 1000 if number < 10_000 else 10_000)
    version = (major, *divmod(rest, 100))
    if version[:2] < OLDEST:
        raise RefusedError("device", f"TensorRT {show_version(version)} is too old; 8.6 is the oldest that is known")
    return version


def show_version(version: tuple[int, ...]) -> str:
    """``10.13.3``."""
    return ".".join(map(str, version))


def check_settings(version: tuple[int, ...], precision: str, settings: dict[str, Any]) -> None:
    """Refuse what this version of TensorRT cannot be asked for."""
    name, typing = show_version(version), settings["typing"]
    if typing == "weak" and version[:2] >= REDEFINED:
        reason = f"TensorRT {name} takes types from the file alone; set 'typing: strong' under 'tensorrt'"
        raise RefusedError("device", f"{reason} and give a model exported in {precision}")
    if typing == "strong" and not FLAGS["--stronglyTyped"].exists_in(version):
        raise RefusedError("device", f"TensorRT {name} has no strong typing; set 'typing: weak' under 'tensorrt'")
    if typing == "strong" and settings["dla_core"] is not None and version[:2] < REDEFINED:
        # trtexec 10 sets the weak flag for fp16 itself when a DLA core is named
        raise RefusedError("device", f"the DLA needs 'typing: weak' under 'tensorrt' with TensorRT {name}")


def build_arguments(
    version: tuple[int, ...], precision: str, settings: dict[str, Any], shapes: str, paths: dict[str, str]
) -> list[str]:
    """Arguments that build an engine which can describe its layers.

    Args:
        version: of this trtexec.
        precision: of the profile.
        settings: the profile's section ``tensorrt``.
        shapes: sizes of the dynamic inputs, see ``show_shapes``; empty where all are fixed.
        paths: of ``onnx``, ``engine`` and ``timing_cache``.
    """
    arguments = [
        f"--onnx={paths['onnx']}",
        f"--saveEngine={paths['engine']}",
        "--skipInference",
        f"--timingCacheFile={paths['timing_cache']}",
        "--profilingVerbosity=detailed",
        f"--builderOptimizationLevel={settings['optimization_level']}",
    ]
    if settings["workspace_mib"] is not None:
        arguments.append(f"--memPoolSize=workspace:{settings['workspace_mib']}")
    if shapes:
        arguments += [f"--{bound}Shapes={shapes}" for bound in ("min", "opt", "max")]
    if precision == "fp32":
        arguments.append("--noTF32")
    if settings["typing"] == "weak":
        arguments += {"fp32": [], "fp16": ["--fp16"], "int8": ["--fp16", "--int8"]}[precision]
    elif version[:2] < REDEFINED:
        arguments.append("--stronglyTyped")
    if settings["dla_core"] is not None:
        arguments += [f"--useDLACore={settings['dla_core']}", "--allowGPUFallback"]
    return require_known(arguments, version)


def run_arguments(
    version: tuple[int, ...], settings: dict[str, Any], shapes: str, runs: int, paths: dict[str, str]
) -> list[str]:
    """Arguments that run an engine so that times of all versions compare.

    Inputs stay on the device, the host waits without sleeping, kernels are launched by a CUDA graph. On the DLA there
    is no graph, which trtexec itself says from 10.13 on.

    Args:
        version: of this trtexec.
        settings: the profile's section ``tensorrt``.
        shapes: sizes of the dynamic inputs; empty where all are fixed.
        runs: how many to measure.
        paths: of ``engine`` and ``times``; with ``layers`` they are described (behind the sizes of dynamic inputs,
            which a build does not know yet), with ``profile`` they are timed too.
    """
    arguments = [
        f"--loadEngine={paths['engine']}",
        f"--warmUp={WARM_UP_MS}",
        "--duration=0",
        f"--iterations={runs}",
        f"--exportTimes={paths['times']}",
    ]
    if shapes:
        arguments.append(f"--shapes={shapes}")
    old, dla = version[:2] < REDEFINED, settings["dla_core"] is not None
    if old:
        arguments += _SAME_MEASUREMENT
    if old and not dla:
        arguments.append("--useCudaGraph")
    if dla:
        arguments += [f"--useDLACore={settings['dla_core']}"] + ([] if old else ["--noCudaGraph"])
    if "layers" in paths:
        arguments.append(f"--exportLayerInfo={paths['layers']}")
    if "profile" in paths:
        arguments += [f"--exportProfile={paths['profile']}"] + (["--separateProfileRun"] if old else [])
    return require_known(arguments, version)


def drop_paths(arguments: list[str]) -> list[str]:
    """What an engine is built with, without the names of files."""
    return [argument for argument in arguments if argument.partition("=")[0] not in _PATHS]


def show_shapes(inputs: list[Any], fixed: dict[str, list[int]]) -> str:
    """``x:1x3x320x320,y:1x5``: the sizes of the inputs that have a dynamic axis; trtexec refuses those of others."""
    dynamic = [name for name, _, shape in inputs if not all(isinstance(size, int) for size in shape)]
    return ",".join(f"{name}:{'x'.join(map(str, fixed[name]))}" for name in dynamic)


def require_known(arguments: list[str], version: tuple[int, ...]) -> list[str]:
    """The arguments; an error of ours where this version does not take one of them."""
    for argument in arguments:
        name = argument.partition("=")[0]
        if not FLAGS[name].exists_in(version):
            raise RefusedError("failed", f"trtexec of TensorRT {show_version(version)} has no flag {name}")
    return arguments
