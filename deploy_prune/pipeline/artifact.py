"""The stage that writes the artifact folder: the file, its manifest, samples, and code that runs it."""

import shutil
from pathlib import Path
from typing import Any

from deploy_prune import __version__
from deploy_prune.artifact import infer
from deploy_prune.artifact.verify import MANIFEST, SCHEMA, checksum
from deploy_prune.errors import ExportError
from deploy_prune.export.session import open_session, run_file
from deploy_prune.pipeline.device import write_json
from deploy_prune.pipeline.handover import PLAN, REPORT
from deploy_prune.pipeline.modelling import open_task, pruned_onnx
from deploy_prune.pipeline.runner import StageContext
from deploy_prune.pipeline.settings import RunSettings
from deploy_prune.report.result import Result, read_result
from deploy_prune.tasks.classification import ClassificationTask

SAMPLES = 8
# Expected outputs come from the task's own resizing, infer.py's from Pillow's: they round pixels differently.
TOLERANCE = 0.02


def write_artifact(settings: RunSettings, context: StageContext) -> str:
    """Write the folder, and look whether it computes what is expected of it.

    Raises:
        ExportError: the code of the folder does not reproduce the task's outputs.
    """
    task = open_task(settings, context)
    assert isinstance(task, ClassificationTask), "the stage is asked for classifiers alone"
    out, result = context.out, read_result(context.output_file(REPORT))
    shutil.copyfile(context.output_file(pruned_onnx(settings)), out / "model.onnx")
    shutil.copyfile(context.output_file(PLAN), out / "plan.json")
    shutil.copyfile(infer.__file__, out / "infer.py")
    samples = _write_samples(task, out)
    manifest = _describe(task, result, out / "model.onnx") | {"samples": samples}
    (out / "README.md").write_text(_write_readme(manifest), encoding="utf-8")
    files = sorted(path for path in out.rglob("*") if path.is_file())
    manifest["files"] = {path.relative_to(out).as_posix(): checksum(path) for path in files}
    write_json(out / MANIFEST, manifest)
    if faults := infer.find_differences(out):
        raise ExportError(f"infer.py does not compute what the task does: {faults[0]}")
    return f"model.onnx, infer.py, {len(samples)} samples with their expected outputs"


def _write_samples(task: ClassificationTask, out: Path) -> list[dict[str, Any]]:
    """Copy validation pictures, spread over the classes, and compute the file's output on each."""
    pictures = task.samples("val", False)
    (out / "samples").mkdir()
    found: list[dict[str, Any]] = []
    step = max(len(pictures) // SAMPLES, 1)
    for index in range(0, len(pictures), step)[:SAMPLES]:
        (path, label), (image, _) = pictures.found[index], pictures[index]
        name = f"samples/{len(found)}{path.suffix.lower()}"
        shutil.copyfile(path, out / name)
        output = next(run_file(out / "model.onnx", image[None]))[0][0]  # (classes,)
        found.append({"file": name, "label": task.classes[label], "output": output.tolist()})
    return found


def _describe(task: ClassificationTask, result: Result, onnx: Path) -> dict[str, Any]:
    """The manifest without samples and checksums; times in milliseconds."""
    given = open_session(onnx).get_inputs()[0]
    return {
        "schema": SCHEMA,
        "deploy_prune": __version__,
        "task": task.name,
        "network": result.model,
        "model": onnx.name,
        "plan": PLAN.name,
        "input": {
            "name": given.name,
            "shape": given.shape,
            "layout": "NCHW",
            "type": "float32",
            "colour": "RGB",
            "range": [0, 1],
            "resize": "shorter side to the input's, bilinear with antialiasing, then the middle",
        },
        "output": {"kind": "logits", "decoding": "the class of the largest; softmax for its score"},
        "classes": list(task.classes),
        "tolerance": TOLERANCE,
        "budget": {"latency_ms": result.budget.latency_ms, "met": result.budget.met},
        "measured": {
            "dense_median_ms": result.dense.latency_ms.median,
            "pruned_median_ms": result.pruned.latency_ms.median,
            "speedup": result.speedup.value,
            "speedup_95": [result.speedup.low, result.speedup.high],
            "metric": {"name": result.pruned.metric.name, "value": result.pruned.metric.value},
        },
        "conditions": result.conditions,
    }


def _write_readme(manifest: dict[str, Any]) -> str:
    given, measured = manifest["input"], manifest["measured"]
    low, high = measured["speedup_95"]
    return f"""# {manifest["network"]}, pruned

A classifier of {len(manifest["classes"])} classes. `manifest.json` holds all that is said here, as data.

    pip install onnxruntime numpy pillow
    python infer.py PICTURE...   # one JSON line per picture
    python infer.py --check      # compares the outputs on samples/ with the expected ones

Input `{given["name"]}`: {given["type"]}, {given["layout"]} of {given["shape"]}, {given["colour"]} in {given["range"]}.
A picture is brought to it thus: {given["resize"]}.
Output: {manifest["output"]["kind"]}; take {manifest["output"]["decoding"]}.

Measured: {measured["pruned_median_ms"]:.3f} ms against {measured["dense_median_ms"]:.3f} ms of the dense network,
{measured["speedup"]:.2f} times as fast (95 % interval {low:.2f} to {high:.2f});
{measured["metric"]["name"]} {measured["metric"]["value"]:.3f}. The conditions are in the manifest.
"""
