"""Run the model of this folder: ``python infer.py PICTURE...`` prints JSON, ``python infer.py --check`` tests itself.

It needs the model's engine, NumPy and Pillow, Python 3.8 or newer, and nothing of deploy_prune.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from deploy_prune.artifact.inference.answers import describe, write_class_map
from deploy_prune.artifact.inference.decoding import decode
from deploy_prune.artifact.inference.engine import choose_model, open_model
from deploy_prune.artifact.inference.pictures import prepare
from deploy_prune.artifact.inference.refusal import RefusalError
from deploy_prune.artifact.inference.samples import check_model, why_unchecked

SCHEMA = 1
NEEDED = {"models", "preprocessing", "postprocessing", "classes", "metric", "samples"}


def main() -> int:
    """Print one JSON line per picture, or what ``--check`` found; 0: in order, 1: faults, 2: a mistake in the input."""
    parser = argparse.ArgumentParser(description="Run the model of this folder.")
    parser.add_argument("pictures", nargs="*", type=Path, help="JPEG or PNG files")
    parser.add_argument("--check", action="store_true", help="compare with the expected outputs on the samples")
    parser.add_argument("--model", help="file of the model; by default the manifest's first")
    parser.add_argument("--masks", type=Path, help="folder for a map of class numbers per picture (segmentation)")
    asked, folder = parser.parse_args(), Path(__file__).resolve().parent
    if asked.check == bool(asked.pictures):
        parser.error("name pictures, or give --check")
    try:
        manifest = read_manifest(folder)
        if asked.check:
            return check(folder, manifest, asked.model)
        answer(folder, manifest, asked)
    except (RefusalError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def read_manifest(folder: Path) -> dict[str, Any]:
    """What ``manifest.json`` says."""
    path = folder / "manifest.json"
    try:
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RefusalError(f"{path} cannot be read ({error}); take the folder from the run again") from error
    if not isinstance(manifest, dict) or manifest.get("schema_version") != SCHEMA:
        raise RefusalError(f"{path} is not of schema {SCHEMA}; take the whole folder from one run")
    lacking = sorted(NEEDED - manifest.keys())
    if lacking:
        raise RefusalError(f"{path} lacks {', '.join(lacking)}; take the folder from the run again")
    return manifest


def check(folder: Path, manifest: dict[str, Any], name: str | None) -> int:
    """Check the models, or the one of this name, and say what was found."""
    models = [choose_model(manifest, name)]
    if name is None:
        models = [model for model in manifest["models"] if why_unchecked(model) is None]
        for reason in filter(None, map(why_unchecked, manifest["models"])):
            print(f"not run: {reason}")
    if not models:
        raise RefusalError("no model could be run: install what the first one is for")
    faults = [fault for model in models for fault in check_model(folder, manifest, model)]
    for fault in faults:
        print(f"fault: {fault}")
    if not faults:
        for model in models:
            score = "" if model["score"] is None else f", {manifest['metric']} {model['score']:.4f}"
            print(f"{model['file']}: {len(manifest['samples'])} samples give the expected outputs{score}")
    return 1 if faults else 0


def answer(folder: Path, manifest: dict[str, Any], asked: argparse.Namespace) -> None:
    """Print what is in each picture."""
    if asked.masks is not None and manifest["postprocessing"]["kind"] != "class_map":
        raise RefusalError("--masks is for segmentation into classes, which this model does not do; leave it out")
    run = open_model(folder, choose_model(manifest, asked.model))
    for path in asked.pictures:
        values, placement = prepare(path, manifest["preprocessing"])
        found = decode(run(values), manifest, placement)
        written = {}
        if asked.masks is not None:
            asked.masks.mkdir(parents=True, exist_ok=True)
            target = asked.masks / f"{path.stem}.png"
            write_class_map(found, placement, target)
            written = {"mask": str(target)}
        print(json.dumps({"picture": str(path), **describe(found, manifest, placement), **written}))


if __name__ == "__main__":
    sys.exit(main())
