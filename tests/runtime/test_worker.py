"""The worker's file stands alone and runs on Python 3.8; its pure parts by hand-worked cases."""

import ast
import importlib.resources
import re
import subprocess
import sys
from pathlib import Path

import pytest

from deploy_prune.runtime.client import RefusedError, WorkerProcess
from deploy_prune.runtime.worker import collect_nodes

SOURCE = (importlib.resources.files("deploy_prune.runtime") / "worker.py").read_text()
PYTHON_38 = next(iter(sorted(Path.home().glob(".pyenv/versions/3.8.*/bin/python"))), None)
needs_python_38 = pytest.mark.skipif(PYTHON_38 is None, reason="no Python 3.8 under ~/.pyenv/versions")


def test_grammar_of_python_38():
    ast.parse(SOURCE, feature_version=(3, 8))


def test_imports_the_standard_library_and_the_engine_only():
    imported = set(re.findall(r"^\s*(?:import|from) (\w+)", SOURCE, re.MULTILINE))
    assert imported - set(sys.stdlib_module_names) == {"onnxruntime", "numpy"}


@needs_python_38
def test_byte_compiles_on_a_real_python_38(tmp_path):
    file = tmp_path / "worker.py"
    file.write_text(SOURCE)
    subprocess.run([PYTHON_38, "-m", "py_compile", file], check=True, capture_output=True)


@needs_python_38
def test_answers_on_a_real_python_38():
    with WorkerProcess((str(PYTHON_38), "-I")) as worker:  # -I: without what this test run has on its path
        state = worker.request("state", timeout_s=30)
        assert state["time_s"] > 0
        conditions = {"threads": 1, "spinning": False, "affinity": None, "batch": 1, "axes": {}}
        with pytest.raises(RefusedError, match="No module named 'onnxruntime'") as caught:
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
