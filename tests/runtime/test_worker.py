"""The worker's modules stand alone and run on Python 3.8; its pure parts by hand-worked cases."""

import ast
import importlib.resources
import re
import subprocess
import sys
from pathlib import Path

import pytest

from deploy_prune.runtime.client import WorkerProcess
from deploy_prune.runtime.worker import BOARD_MODULES, MODULES
from deploy_prune.runtime.worker.onnxruntime_engine import collect_nodes
from deploy_prune.runtime.worker.refusal import RefusedError

FOLDER = importlib.resources.files("deploy_prune.runtime.worker")
ALL = MODULES + BOARD_MODULES
SOURCES = {name: (FOLDER / f"{name}.py").read_text() for name in ALL}
PYTHON_38 = next(iter(sorted(Path.home().glob(".pyenv/versions/3.8.*/bin/python"))), None)
needs_python_38 = pytest.mark.skipif(PYTHON_38 is None, reason="no Python 3.8 under ~/.pyenv/versions")


def test_every_module_is_sent():
    assert {entry.name for entry in FOLDER.iterdir() if entry.name.endswith(".py")} == {
        "__init__.py",
        *(f"{name}.py" for name in ALL),
    }


@pytest.mark.parametrize("name", ALL)
def test_grammar_of_python_38(name):
    ast.parse(SOURCES[name], feature_version=(3, 8))


@pytest.mark.parametrize("name", ALL)
def test_imports_the_standard_library_one_engine_and_what_was_sent_before(name):
    imported = set(re.findall(r"^\s*(?:import|from) ([\w.]+)", SOURCES[name], re.MULTILINE))
    own = {module for module in imported if module.startswith("deploy_prune.")}
    assert own <= {f"deploy_prune.runtime.worker.{earlier}" for earlier in ALL[: ALL.index(name)]}
    engine = name.removesuffix("_engine")
    others = {module.partition(".")[0] for module in imported - own} - set(sys.stdlib_module_names)
    assert others <= ({engine, "numpy"} if name != engine else {"numpy"})


@needs_python_38
def test_byte_compiles_on_a_real_python_38(tmp_path):
    for name, source in SOURCES.items():
        (tmp_path / f"{name}.py").write_text(source)
    files = sorted(tmp_path.glob("*.py"))
    subprocess.run([PYTHON_38, "-m", "py_compile", *files], check=True, capture_output=True)


@needs_python_38
def test_answers_on_a_real_python_38():
    with WorkerProcess((str(PYTHON_38), "-I")) as worker:  # -I: without what this test run has on its path
        state = worker.request("state", timeout_s=30)
        assert state["time_s"] > 0
        for engine in ("onnxruntime", "openvino", "torch"):
            conditions = {"engine": engine, "threads": 1, "spinning": False, "affinity": None, "precision": "fp32",
                          "mode": "eager", "device": "cpu", "batch": 1, "axes": {}}  # fmt: skip
            with pytest.raises(RefusedError, match=f"No module named '{engine}'") as caught:
                worker.request("load", timeout_s=30, model="x.onnx", conditions=conditions, profiling=False)
            assert caught.value.kind == "missing"


def kernel(name, index, start_us, duration_us, op="Conv"):
    return {
        "cat": "Node",
        "name": f"{name}_kernel_time",
        "ts": start_us,
        "dur": duration_us,
        "args": {
            "node_index": str(index),
            "op_name": op,
            "input_type_shape": [{"float": [1, 3]}],
            "output_type_shape": [{"float": [1, 3]}],
            "activation_size": "12",
        },
    }


def test_node_times_are_grouped_by_node_in_order_of_execution():
    events = [
        {"cat": "Session", "name": "model_run", "ts": 0, "dur": 100},
        kernel("/b", 2, 20, 5),
        kernel("/a", 1, 0, 10),
        kernel("/a", 1, 100, 12),
        kernel("/b", 2, 120, 7),
        kernel("/zero", 3, 127, 0),
    ]
    nodes = collect_nodes(events)
    assert [(n["name"], n["durations_us"]) for n in nodes] == [
        ("/a", [10, 12]),
        ("/b", [5, 7]),
        ("/zero", [0]),
    ]


def test_nodes_inside_a_loop_are_counted_once_within_it():
    events = [
        kernel("/body", 1, 2, 3),
        kernel("/body", 1, 6, 3),
        kernel("/loop", 1, 0, 10, "Loop"),
        kernel("/after", 2, 10, 4),
    ]
    assert [n["name"] for n in collect_nodes(events)] == ["/loop", "/after"]
