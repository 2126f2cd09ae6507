"""Every name of TensorRT's Python bindings that is used, asked of the real bindings of five versions.

They are imported over libraries that do nothing: names, enums and signatures are real, and nothing can be run. Opt-in:

    python tests/runtime/tensorrt/set_up_bindings.py FOLDER
    DEPLOY_PRUNE_TENSORRT_BINDINGS=FOLDER python -m pytest tests/runtime/tensorrt/test_contract.py
"""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from deploy_prune.runtime.worker import tensorrt_engine

VARIABLE = "DEPLOY_PRUNE_TENSORRT_BINDINGS"
ROOT = Path(__file__).parents[3]
# the names of variables in tensorrt_engine.py -> the class of what they hold
HOLDS = {
    "trt": "", "tensorrt": "", "kinds": "NetworkDefinitionCreationFlag", "builder": "Builder",
    "network": "INetworkDefinition", "parser": "OnnxParser", "config": "IBuilderConfig",
    "profile": "IOptimizationProfile", "cache": "ITimingCache", "runtime": "Runtime", "engine": "ICudaEngine",
    "context": "IExecutionContext", "inspector": "EngineInspector",
}  # fmt: skip
OF_SELF = {"_trt": "trt", "_engine": "engine", "_context": "context"}
# Names that a version lacks, each behind a question for the version or for what check_settings lets through.
GUARDED = {
    "8.6": {"NetworkDefinitionCreationFlag.STRONGLY_TYPED"},
    "10.3": set(),
    "10.13": set(),
    "10.16": set(),
    "11.4": {"NetworkDefinitionCreationFlag.EXPLICIT_BATCH", "BuilderFlag.FP16", "BuilderFlag.INT8"},
}
ASK = """
import json, re, sys
import tensorrt_bindings as trt

def parameters(function):
    first = (function.__doc__ or "").strip().splitlines()[:1]
    found = re.match(r"\\w+\\((.*)\\) -> ", first[0]) if first else None
    if found is None or "*args" in found.group(1):
        return None  # several signatures
    parts, depth = [""], 0
    for letter in found.group(1):
        depth += {"[": 1, "(": 1, "]": -1, ")": -1}.get(letter, 0)
        if letter == "," and not depth:
            parts.append("")
        else:
            parts[-1] += letter
    return [part for part in parts if not part.strip().startswith("self")]

names, calls = json.load(sys.stdin)
missing, misfits = [], []
for name in names:
    thing = trt
    for part in name.split("."):
        thing = getattr(thing, part, None)
    if thing is None:
        missing.append(name)
for name, count in calls:
    thing = trt
    for part in name.split("."):
        thing = getattr(thing, part, None)
    taken = parameters(thing)
    if taken is not None and not sum("=" not in part for part in taken) <= count <= len(taken):
        misfits.append([name, count, taken])
from deploy_prune.runtime.worker import tensorrt_engine as ours
logger, profiler = ours.make_logger(trt), ours.make_profiler(trt)
logger.log(trt.ILogger.Severity.INTERNAL_ERROR, "a")
logger.log(trt.ILogger.Severity.WARNING, "b")
for run in (1.0, 2.0):
    profiler.report_layer_time("l", run)
    profiler.end_run()
flags = {}
for typing in ("weak", "strong"):
    try:
        flags[typing] = ours.network_flags(trt, typing)
    except AttributeError:
        flags[typing] = None
print(json.dumps({"version": ours.read_version(trt), "missing": missing, "misfits": misfits, "flags": flags,
                  "lines": logger.lines, "layers": profiler.layers}))
"""


def dotted_name(node):
    """``trt.BuilderFlag.TF32`` -> "BuilderFlag.TF32", ``config.set_flag`` -> "IBuilderConfig.set_flag"; else None."""
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return None
    names = [node.id, *reversed(parts)]
    if names[0] == "self" and len(names) > 2 and names[1] in OF_SELF:
        names = [OF_SELF[names[1]], *names[2:]]
    if names[0] not in HOLDS or len(names) < 2 or names[1].startswith("__"):
        return None
    return ".".join(filter(None, [HOLDS[names[0]], *names[1:]]))


def used_names():
    """Every name of TensorRT in the file, and the calls with the number of their arguments."""
    tree = ast.parse(Path(tensorrt_engine.__file__).read_text())
    names = {name for node in ast.walk(tree) if isinstance(node, ast.Attribute) and (name := dotted_name(node))}
    calls = {
        (name, len(node.args) + len(node.keywords))
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and (name := dotted_name(node.func)) and "__" not in name
    }
    return sorted(names), sorted(calls)


def test_the_names_are_found_in_the_file():
    names, _ = used_names()
    assert {"BuilderFlag.TF32", "IExecutionContext.execute_async_v3", "ITimingCache.serialize"} <= set(names)
    assert len(names) > 50


@pytest.mark.tensorrt_bindings
@pytest.mark.parametrize("version", GUARDED)
def test_the_bindings_have_every_name(version):
    if VARIABLE not in os.environ:
        pytest.skip(f"NVIDIA's bindings are not here; see set_up_bindings.py, then set {VARIABLE}")
    folder = Path(os.environ[VARIABLE]).resolve() / version
    environment = {**os.environ, "PYTHONPATH": f"{folder}:{ROOT}", "LD_LIBRARY_PATH": str(folder / "lib")}
    done = subprocess.run(
        [sys.executable, "-c", ASK], input=json.dumps(used_names()), env=environment, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert ".".join(map(str, answer["version"])).startswith(version)
    assert set(answer["missing"]) == GUARDED[version]
    assert answer["misfits"] == []
    assert answer["lines"] == ["[E] [TRT] a", "[W] [TRT] b"] and answer["layers"] == [["l", [1e3, 2e3]]]
    expected = {"8.6": {"weak": 1, "strong": None}, "11.4": {"weak": 0, "strong": 1}}
    assert answer["flags"] == expected.get(version, {"weak": 0, "strong": 2})
