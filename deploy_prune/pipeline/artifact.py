"""The stage that writes the artifact folder: models, manifest, samples, and code that runs them."""

import importlib.metadata
import json
import platform
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deploy_prune import __version__, artifact
from deploy_prune.artifact.inference.pictures import prepare
from deploy_prune.artifact.inference.refusal import RefusalError
from deploy_prune.artifact.inference.samples import run_samples, score_samples, take_spots
from deploy_prune.artifact.inference.scores import METRICS
from deploy_prune.artifact.manifest import MANIFEST, SCHEMA, Manifest
from deploy_prune.artifact.readme import write_readme
from deploy_prune.artifact.usage import Sample
from deploy_prune.artifact.verify import OWN_CHECKSUM, checksum, find_faults, list_files
from deploy_prune.errors import ExportError
from deploy_prune.export.session import open_session
from deploy_prune.pipeline.handover import PLAN, REPORT
from deploy_prune.pipeline.modelling import open_task, pruned_onnx
from deploy_prune.pipeline.runner import StageContext
from deploy_prune.pipeline.settings import RunSettings
from deploy_prune.report.result import Result, read_result
from deploy_prune.tasks.usage import Usage

# Sums in another order differ by about 1e-6 of a channel's size, and more where a network is deep; a wrong layer by
# 1e-2 and more (export.parity).
TOLERANCE = 1e-3
# Mean difference from the task's own input, in levels of 255. Two ways of bilinear resizing differ by one level here
# and there; a wrong one, or swapped colours, by tens.
INPUT_LEVELS = 1.0
PACKAGES = ("torch", "numpy", "pillow", "onnx", "onnxslim", "onnxruntime", "torchvision", "timm", "ultralytics")


@dataclass(frozen=True)
class Deliverable:
    """A model that the artifact takes in, under the name ``file``."""

    path: Path
    file: str
    engine: str = "onnxruntime"
    precision: str = "fp32"
    tolerance: float = TOLERANCE


def write_artifact(settings: RunSettings, context: StageContext) -> str:
    """Write the folder, and verify it as its user will."""
    models = (Deliverable(context.output_file(pruned_onnx(settings)), "model.onnx"),)
    usage = open_task(settings, context).usage(settings.recipe.export.samples)
    result = read_result(context.output_file(REPORT))
    manifest = assemble(models, context.output_file(PLAN), usage, result, context.out)
    scores = [f"{one.file} {manifest.metric} {one.score:.3f}" for one in manifest.models if one.score is not None]
    found = f", on them {', '.join(scores)}" if scores else ""
    return f"{', '.join(one.file for one in manifest.models)}, {len(manifest.samples)} samples{found}"


def assemble(models: Sequence[Deliverable], plan: Path, usage: Usage, result: Result, out: Path) -> Manifest:
    """Fill the empty folder ``out`` with the models (the recommended one first) and all that belongs to them.

    Raises:
        ExportError: the folder does not pass its own check.
    """
    for model in models:
        shutil.copyfile(model.path, out / model.file)
    shutil.copyfile(plan, out / PLAN.name)
    copy_inference(out)
    content = _describe(usage, result, models[0].file)
    try:
        content["samples"], notes = _write_samples(usage, out)
        content["models"] = [_describe_model(model, out, content) for model in models]
    except RefusalError as error:
        raise ExportError(f"infer.py cannot run the artifact: {error}") from error
    content["notes"] = [*usage.notes, *notes, *_find_notes(usage, result)]
    manifest = _write_manifest(content, out)
    if faults := find_faults(out):
        raise ExportError(f"the artifact does not pass its own check: {faults[0]}")
    return manifest


def copy_inference(out: Path) -> None:
    """Copy ``infer.py`` and what it imports; there it is a package of its own."""
    home = Path(artifact.__file__).parent
    (out / "inference").mkdir()
    for source in (home / "infer.py", *sorted((home / "inference").glob("*.py"))):
        text = source.read_text(encoding="utf-8").replace("deploy_prune.artifact.inference", "inference")
        (out / source.relative_to(home)).write_text(text, encoding="utf-8")


def _write_samples(usage: Usage, out: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """Copy the samples; say whether the artifact's code prepares each picture as the task does."""
    (out / "samples").mkdir()
    found, off = [], 0.0
    preprocessing = usage.preprocessing.model_dump(mode="json")
    for i, sample in enumerate(usage.samples):
        name, label = f"samples/{i:02d}", sample.label
        if sample.picture is None:
            file = f"{name}.npy"
            np.save(out / file, sample.inputs.numpy(), allow_pickle=False)
        else:
            file = name + sample.picture.suffix.lower()
            shutil.copyfile(sample.picture, out / file)
            prepared, _ = prepare(out / file, preprocessing)
            off = max(off, 255 * float(np.abs(prepared - sample.inputs.numpy()).mean()))
        if label is not None and sample.class_map is not None:
            label = label.model_copy(update={"file": f"{name}_classes{sample.class_map.suffix.lower()}"})
            shutil.copyfile(sample.class_map, out / str(label.file))
        if label is not None and sample.masks is not None:
            label = label.model_copy(update={"file": f"{name}_masks.npz"})
            np.savez_compressed(out / str(label.file), masks=sample.masks)
        found.append(Sample(file=file, label=label).model_dump(mode="json"))
    if off <= INPUT_LEVELS:
        return found, []
    return found, [f"`infer.py` prepares pictures unlike the training: by {off:.1f} of 255 in the mean of a sample."]


def _describe_model(model: Deliverable, out: Path, manifest: dict[str, Any]) -> dict[str, Any]:
    """The manifest's entry; the model is run on all samples, and its outputs are kept."""
    session = open_session(out / model.file)
    entry: dict[str, Any] = {
        "file": model.file,
        "engine": model.engine,
        "precision": model.precision,
        "inputs": [_describe_tensor(one) for one in session.get_inputs()],
        "outputs": [_describe_tensor(one) for one in session.get_outputs()],
        "expected": f"expected/{Path(model.file).stem}.npz",
        "tolerance": model.tolerance,
    }
    outputs = run_samples(out, manifest, entry)
    expected = {f"{i}_{j}": take_spots(one) for i, each in enumerate(outputs) for j, one in enumerate(each)}
    (out / "expected").mkdir(exist_ok=True)
    np.savez_compressed(out / entry["expected"], **expected)
    return {**entry, "score": score_samples(out, manifest, outputs)}


def _describe_tensor(value: Any) -> dict[str, Any]:
    """ONNX Runtime calls float32 ``tensor(float)``."""
    kind = str(value.type).removeprefix("tensor(").removesuffix(")")
    return {"name": value.name, "shape": list(value.shape), "dtype": {"float": "float32"}.get(kind, kind)}


def _describe(usage: Usage, result: Result, measured: str) -> dict[str, Any]:
    """The manifest without models, samples, notes and checksums; ``measured`` is the file that the run timed."""
    kind = usage.postprocessing.kind
    how = {name: result.conditions[name] for name in ("engine", "precision")}
    return {
        "schema_version": SCHEMA,
        "task": result.task,
        "network": result.model,
        "plan": PLAN.name,
        "preprocessing": usage.preprocessing.model_dump(mode="json"),
        "postprocessing": usage.postprocessing.model_dump(mode="json"),
        "classes": usage.classes,
        "metric": METRICS[kind][0] if kind in METRICS else None,
        "budget": {name: getattr(result.budget, name) for name in ("latency_ms", "speedup", "met")},
        "limits": [asdict(limit) for limit in result.limits],
        "measured": [
            {**how, **asdict(result.dense), "model": "dense"},
            {**how, **asdict(result.pruned), "model": measured, "speedup": asdict(result.speedup)},
        ],
        "profile": result.profile.name,
        "machine": result.profile.fingerprint,
        "conditions": result.conditions,
        "disturbances": result.disturbances,
        "versions": _find_versions(),
    }


def _find_versions() -> dict[str, str]:
    found = {"deploy_prune": __version__, "python": platform.python_version()}
    installed = {str(one.metadata["Name"]).lower(): one.version for one in importlib.metadata.distributions()}
    return found | {package: installed[package] for package in PACKAGES if package in installed}


def _find_notes(usage: Usage, result: Result) -> list[str]:
    notes = []
    if usage.postprocessing.kind == "raw":
        notes.append("No decoder is written for this task's outputs yet: `infer.py` runs the model and says no more.")
    if not result.all_kept:
        notes.append("The budget, or a limit beside it, is not kept: see the table of what was measured.")
    if result.disturbances:
        notes.append(f"The machine was disturbed while it measured: {'; '.join(result.disturbances)}.")
    return notes


def _write_manifest(content: dict[str, Any], out: Path) -> Manifest:
    """Write README, checksums and manifest, each once what it speaks of is there."""
    manifest = Manifest.model_validate_json(json.dumps({**content, "files": {}}))
    (out / "README.md").write_text(write_readme(manifest), encoding="utf-8")
    files = {name: checksum(out / name) for name in sorted(list_files(out))}
    manifest = manifest.model_copy(update={"files": files})
    (out / MANIFEST).write_text(json.dumps(manifest.to_plain(), indent=1) + "\n", encoding="utf-8")
    (out / OWN_CHECKSUM).write_text(f"{checksum(out / MANIFEST)}  {MANIFEST}\n", encoding="ascii")
    return manifest
