"""The artifact's own test: its models on its sample pictures against what they gave when it was written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from deploy_prune.artifact.inference.decoding import decode
from deploy_prune.artifact.inference.engine import find_obstacle, open_model
from deploy_prune.artifact.inference.pictures import prepare
from deploy_prune.artifact.inference.refusal import RefusalError
from deploy_prune.artifact.inference.scores import METRICS

SPOTS = 2000  # values of an output that are kept; a detector has millions
_PLURAL = {"box": "boxes"}
SCORE_TOLERANCE = 0.005  # half a point


def check_model(folder: Path, manifest: dict[str, Any], model: dict[str, Any]) -> list[str]:
    """One line for each sample on which the model does not give what is expected, and for another score."""
    unchecked = why_unchecked(model)
    if unchecked is not None:
        return [unchecked]
    try:
        expected, faults = read_arrays(folder / model["expected"]), []
        outputs = run_samples(folder, manifest, model)
    except RefusalError as error:
        return [str(error)]
    except Exception as error:  # whatever the engine raises on a model that it cannot run
        return [f"{model['file']} does not run: {str(error).strip().splitlines()[0]}"]
    for i, sample in enumerate(manifest["samples"]):
        for j, output in enumerate(outputs[i]):
            shape = [int(side) for side in output.shape]
            what = f"{model['file']} on {sample['file']}: output {model['outputs'][j]['name']!r}"
            if not has_shape(shape, model["outputs"][j]["shape"]):
                faults.append(f"{what} has shape {shape}, expected {model['outputs'][j]['shape']}")
                continue
            values, sizes = expected[f"{i}_{j}"]
            off = float((np.abs(take_spots(output)[0] - values) / sizes).max())
            if not off <= model["tolerance"]:  # also where it is not a number
                faults.append(f"{what} is off by {off:.1e} of its size, allowed {model['tolerance']:.0e}")
    return faults or check_score(folder, manifest, model, outputs)


def has_shape(shape: list[int], said: list[Any]) -> bool:
    """Whether a shape is as the manifest says, where a name stands for any length."""
    return len(shape) == len(said) and all(isinstance(b, str) or a == b for a, b in zip(shape, said))  # noqa: B905 - 3.8


def why_unchecked(model: dict[str, Any]) -> str | None:
    """Why a model cannot be compared with what it gave, whatever its file holds; None: it can."""
    if model["expected"] is None and find_obstacle(model) is None:
        return f"{model['file']} was not run when the artifact was written"
    return find_obstacle(model)


def run_samples(folder: Path, manifest: dict[str, Any], model: dict[str, Any]) -> list[list[Any]]:
    """The model's outputs on each sample."""
    run = open_model(folder, model)
    return [run(prepare(folder / sample["file"], manifest["preprocessing"])[0]) for sample in manifest["samples"]]


def take_spots(output: Any) -> Any:
    """Values spread evenly over an output (1, ...), and the size of each one's channel; (2, k) in float32.

    The size is the channel's (second axis) largest value, but at least a thousandth of the whole output's: boxes are
    large and scores small.
    """
    channels = np.abs(np.asarray(output, np.float32)).reshape(output.shape[1] if output.ndim > 2 else 1, -1)
    whole = max(float(channels.max()), 1e-30)
    sizes = np.maximum(channels.max(axis=1), 1e-3 * whole)
    flat = np.asarray(output, np.float32).ravel()
    count = min(SPOTS, flat.size)
    spots = np.arange(count) * flat.size // count
    return np.stack([flat[spots], sizes[spots // channels.shape[1]]])


def read_arrays(path: Path) -> dict[str, Any]:
    """The arrays of an ``.npz`` file by name."""
    try:
        with np.load(path, allow_pickle=False) as content:
            return {name: content[name] for name in content.files}
    except (OSError, ValueError) as error:
        raise RefusalError(f"{path.parent.name}/{path.name} cannot be read: {error}") from error


def check_score(folder: Path, manifest: dict[str, Any], model: dict[str, Any], outputs: list[list[Any]]) -> list[str]:
    """One line if the score on the samples is not the expected one."""
    score = score_samples(folder, manifest, outputs)
    if score is None or model["score"] is None or abs(score - model["score"]) <= SCORE_TOLERANCE:
        return []
    name = METRICS[manifest["postprocessing"]["kind"]][0]
    return [f"{model['file']}: {name} on the samples is {score:.4f}, expected {model['score']:.4f}"]


def score_samples(folder: Path, manifest: dict[str, Any], outputs: list[list[Any]]) -> float | None:
    """The task's metric on the samples; None where labels or a decoder are missing."""
    kind, samples = manifest["postprocessing"]["kind"], manifest["samples"]
    if kind not in METRICS or not samples or any(sample["label"] is None for sample in samples):
        return None
    sigmas = (manifest["postprocessing"]["keypoints"] or {"sigmas": [1.0]})["sigmas"]
    pairs = []
    for i, sample in enumerate(samples):
        _, placement = prepare(folder / sample["file"], manifest["preprocessing"])
        found = decode(outputs[i], manifest, placement, scoring=True)
        pairs.append((found, read_label(folder, sample["label"], sigmas)))
    return METRICS[kind][1](pairs, len(manifest["classes"]))


def read_label(folder: Path, label: dict[str, Any], sigmas: list[float]) -> dict[str, Any]:
    """A sample's label as the metrics take it; ``sigmas`` are those of its keypoints."""
    if label["kind"] == "class":
        return {"class": label["class_number"]}
    if label["kind"] == "class_map":
        from PIL import Image

        with Image.open(folder / label["file"]) as opened:
            return {"class_map": np.asarray(opened)}
    objects = label["objects"]
    read = {
        "labels": np.array([one["class_number"] for one in objects], int),
        "crowd": np.array([one["crowd"] for one in objects], bool),
    }
    for name, shape in (("box", (-1, 4)), ("corners", (-1, 4, 2)), ("keypoints", (-1, len(sigmas), 3))):
        if not any(one[name] is None for one in objects):
            read[_PLURAL.get(name, name)] = np.array([one[name] for one in objects], float).reshape(shape)
    if label["file"] is not None:
        read["masks"] = read_arrays(folder / label["file"])["masks"]
    return {**read, "sigmas": np.array(sigmas)}
