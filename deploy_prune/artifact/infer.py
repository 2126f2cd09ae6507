"""Run the model of this folder: ``python infer.py PICTURE...`` prints JSON, ``python infer.py --check`` tests itself.

It needs onnxruntime, NumPy and Pillow, Python 3.8 or newer, and nothing of deploy_prune.
"""

from __future__ import annotations  # list[str] on Python 3.8

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np


def read_manifest(folder: Path) -> dict[str, Any]:
    """What ``manifest.json`` says."""
    manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    return manifest


def open_model(folder: Path, manifest: dict[str, Any]) -> Any:
    """The model in ONNX Runtime on the CPU."""
    import onnxruntime

    return onnxruntime.InferenceSession(str(folder / manifest["model"]), providers=["CPUExecutionProvider"])


def prepare(path: Path, size: int) -> Any:
    """The picture as (1, 3, S, S), RGB in [0, 1]: the shorter side is brought to S and the middle taken."""
    from PIL import Image

    with Image.open(path) as opened:
        image = opened.convert("RGB")
    width, height = image.size
    short = min(width, height)
    if short != size:
        width, height = size * width // short, size * height // short
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    left, top = round((width - size) / 2), round((height - size) / 2)
    pixels = np.asarray(image.crop((left, top, left + size, top + size)), np.float32) / 255  # (S, S, 3)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])


def compute_logits(session: Any, manifest: dict[str, Any], picture: Path) -> Any:
    """The file's output for a picture, (classes,)."""
    given = manifest["input"]
    return session.run(None, {given["name"]: prepare(picture, given["shape"][2])})[0][0]


def decode(logits: Any, classes: list[str]) -> dict[str, Any]:
    """The class of the largest logit, and its share of the softmax."""
    powers = np.exp(logits - logits.max())
    best = int(logits.argmax())
    return {"class": classes[best], "score": float(powers[best] / powers.sum())}


def find_differences(folder: Path) -> list[str]:
    """One line for each sample whose output is not the expected one."""
    manifest = read_manifest(folder)
    session, faults = open_model(folder, manifest), []
    for sample in manifest["samples"]:
        expected = np.asarray(sample["output"], np.float32)
        got = compute_logits(session, manifest, folder / sample["file"])
        if got.shape != expected.shape:
            faults.append(f"{sample['file']}: output of shape {got.shape}, expected {expected.shape}")
            continue
        off = float(np.abs(got - expected).max() / max(float(np.abs(expected).max()), 1e-30))
        if not off <= manifest["tolerance"]:  # also where it is not a number
            faults.append(f"{sample['file']}: output differs by {off:.1e} of its size, allowed {manifest['tolerance']}")
    return faults


def main() -> int:
    """Print one JSON line per picture, or what ``--check`` found."""
    parser = argparse.ArgumentParser(description="Run the model of this folder.")
    parser.add_argument("pictures", nargs="*", type=Path)
    parser.add_argument("--check", action="store_true", help="compare with the expected outputs of the samples")
    asked, folder = parser.parse_args(), Path(__file__).resolve().parent
    if asked.check:
        faults = find_differences(folder)
        print("\n".join(faults) or "the outputs on the samples are those expected")
        return 1 if faults else 0
    if not asked.pictures:
        parser.error("name a picture, or give --check")
    manifest = read_manifest(folder)
    session = open_model(folder, manifest)
    for picture in asked.pictures:
        found = decode(compute_logits(session, manifest, picture), manifest["classes"])
        print(json.dumps({"picture": str(picture), **found}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
