"""Real artifacts of untrained networks: exported, assembled and run, without a pipeline around them."""

import dataclasses
import subprocess
import sys
from pathlib import Path

from deploy_prune.pipeline.artifact import Deliverable, assemble
from deploy_prune.pruner.plan import Plan
from deploy_prune.report.result import read_result

REPORT = Path(__file__).parents[2] / "benchmarks" / "results" / "yolov8n_digits" / "report.json"


def make_artifact(task, folder, *, samples=8, model=None):
    """The artifact of ``model`` (None: the task's untrained network); its measured table is another network's."""
    onnx = task.export_onnx(task.build() if model is None else model, folder / "net.onnx")
    plan = folder / "plan.json"
    Plan({}, (), (), "none").save(plan)
    result = dataclasses.replace(read_result(REPORT), task=task.name, model="net")
    (folder / "artifact").mkdir()
    assemble([Deliverable(onnx, "model.onnx")], plan, task.usage(samples), result, folder / "artifact")
    return folder / "artifact"


def run_python(*arguments, python=sys.executable):
    return subprocess.run([str(python), *map(str, arguments)], capture_output=True, text=True, check=False)


def verify(folder):
    return run_python("-m", "deploy_prune", "verify", folder)
