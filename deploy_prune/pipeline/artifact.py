"""The stage that writes the artifact folder: models, manifest, samples, and code that runs them."""

import importlib.metadata
import json
import platform
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from deploy_prune import __version__, artifact
from deploy_prune.artifact.inference.engine import find_obstacle
from deploy_prune.artifact.inference.pictures import prepare
from deploy_prune.artifact.inference.refusal import RefusalError
from deploy_prune.artifact.inference.samples import run_samples, score_samples, take_spots
from deploy_prune.artifact.inference.scores import METRICS
from deploy_prune.artifact.manifest import MANIFEST, SCHEMA, Manifest, Measured
from deploy_prune.artifact.readme import write_readme
from deploy_prune.artifact.usage import Sample
from deploy_prune.artifact.verify import OWN_CHECKSUM, checksum, find_faults, list_files
from deploy_prune.errors import ExportError
from deploy_prune.export.formats import FORMATS
from deploy_prune.export.session import open_session
from deploy_prune.pipeline.handover import EXPORTS, PLAN, REPORT
from deploy_prune.pipeline.modelling import open_task, pruned_onnx
from deploy_prune.pipeline.outcome import read_exports
from deploy_prune.pipeline.runner import StageContext
from deploy_prune.pipeline.settings import RunSettings
from deploy_prune.report.result import Result, read_result
from deploy_prune.tasks.usage import Usage

# Sums in another order differ by about 1e-6 of a channel's size, and more where a network is deep; a wrong layer by
# 1e-2 and more (export.parity). Half precision keeps three digits. Integers are rounded otherwise by other kernels, and
# one level of 255 is worth up to 0.4 % of the largest value in each layer: 0.1 is a guess.
TOLERANCES = {"fp32": 1e-3, "fp16": 2e-2, "int8": 0.1}
# Mean difference from the task's own input, in levels of 255. Two ways of bilinear resizing differ by one level here
# and there; a wrong one, or swapped colours, by tens.
INPUT_LEVELS = 1.0
PACKAGES = ("torch", "numpy", "pillow", "onnx", "onnxslim", "onnxruntime", "torchvision", "timm", "ultralytics")


@dataclass(frozen=True)
class Deliverable:
    """A model that the artifact takes in.

    Attributes:
        path: the file that its engine opens.
        file: its name in the artifact.
        engine: by the name of its Python package.
        precision: of its arithmetic.
        beside: further files that it needs, by their names in the artifact.
        measured: rows of the measured table that are about it.
    """

    path: Path
    file: str
    engine: str = "onnxruntime"
    precision: str = "fp32"
    beside: Mapping[str, Path] = field(default_factory=dict)
    measured: tuple[Measured, ...] = ()


def write_artifact(settings: RunSettings, context: StageContext) -> str:
    """Write the folder, and verify it as its user will."""
    models = tuple(_deliver(settings, context))
    usage = open_task(settings, context).usage(settings.recipe.export.samples)
    result = read_result(context.output_file(REPORT))
    manifest = assemble(models, context.output_file(PLAN), usage, result, context.out)
    scores = [f"{one.file} {manifest.metric} {one.score:.3f}" for one in manifest.models if one.score is not None]
    found = f", on them {', '.join(scores)}" if scores else ""
    return f"{', '.join(one.file for one in manifest.models)}, {len(manifest.samples)} samples{found}"


def _deliver(settings: RunSettings, context: StageContext) -> Iterator[Deliverable]:
    """The recommended file, then those of the stage ``formats`` whose outputs are the same."""
    yield Deliverable(context.output_file(pruned_onnx(settings)), "model.onnx")
    asked, folder = settings.recipe.export, context.output_file(EXPORTS).parent
    for one in read_exports(settings, context):
        if one.format == "onnx" and (one.precision == "fp32" or asked.nms or asked.dynamic):
            continue  # the first file again, or one with other axes and outputs than the manifest describes
        beside = {Path(name).name: folder / name for name in one.sha256 if name != one.path}
        engine = FORMATS[one.format].engine or one.format
        yield Deliverable(folder / one.path, Path(one.path).name, engine, one.precision, beside)


def assemble(models: Sequence[Deliverable], plan: Path, usage: Usage, result: Result, out: Path) -> Manifest:
    """Fill the empty folder ``out`` with the models and all that belongs to them.

    Args:
        models: the recommended one first, an ONNX file; the result's measured latency is its.
        plan: the file.
        usage: how they are used.
        result: what the run found.
        out: the folder.

    Raises:
        ExportError: the folder does not pass its own check.
    """
    for model in models:
        for name, path in {model.file: model.path, **model.beside}.items():
            shutil.copyfile(path, out / name)
    shutil.copyfile(plan, out / PLAN.name)
    copy_inference(out)
    content = _describe(usage, result, models)
    try:
        content["samples"], notes = _write_samples(usage, out)
        tensors = _describe_tensors(out / models[0].file)
        content["models"] = [_describe_model(model, tensors, out, content) for model in models]
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


def _describe_model(model: Deliverable, tensors: dict[str, Any], out: Path, manifest: dict[str, Any]) -> dict[str, Any]:
    """The manifest's entry; where the model can be run here, it is, on all samples, and its outputs are kept."""
    entry: dict[str, Any] = {
        "file": model.file,
        "beside": sorted(model.beside),
        "engine": model.engine,
        "precision": model.precision,
        **tensors,
        "expected": None,
        "tolerance": TOLERANCES[model.precision],
        "score": None,
    }
    if find_obstacle(entry) is not None:
        return entry
    entry["expected"] = f"expected/{model.file}.npz"
    outputs = run_samples(out, manifest, entry)
    expected = {f"{i}_{j}": take_spots(one) for i, each in enumerate(outputs) for j, one in enumerate(each)}
    (out / "expected").mkdir(exist_ok=True)
    np.savez_compressed(out / entry["expected"], **expected)
    return {**entry, "score": score_samples(out, manifest, outputs)}


def _describe_tensors(onnx: Path) -> dict[str, Any]:
    session = open_session(onnx)
    given, found = session.get_inputs(), session.get_outputs()
    return {"inputs": [_describe_tensor(one) for one in given], "outputs": [_describe_tensor(one) for one in found]}


def _describe_tensor(value: Any) -> dict[str, Any]:
    """ONNX Runtime calls float32 ``tensor(float)``."""
    kind = str(value.type).removeprefix("tensor(").removesuffix(")")
    return {"name": value.name, "shape": list(value.shape), "dtype": {"float": "float32"}.get(kind, kind)}


def _describe(usage: Usage, result: Result, models: Sequence[Deliverable]) -> dict[str, Any]:
    """The manifest without models, samples, notes and checksums."""
    kind = usage.postprocessing.kind
    how = {name: result.conditions[name] for name in ("engine", "precision")}
    faster = {"over": "dense", **asdict(result.speedup)}
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
            {**how, **asdict(result.pruned), "model": models[0].file, "speedup": faster},
            *(row.model_dump(mode="json") for model in models for row in model.measured),
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
