"""Check an artifact folder again: its manifest, the checksums, and that the file computes what it did."""

import hashlib
import json
from pathlib import Path
from typing import Any

from deploy_prune.errors import InputError

SCHEMA = 1
MANIFEST = "manifest.json"
_FIELDS = {"schema", "task", "model", "input", "classes", "tolerance", "samples", "files"}


def find_faults(folder: Path) -> list[str]:
    """One line for each fault. The file is run only if all checksums are right; the folder's code never is.

    Raises:
        InputError: there is no manifest, or it is not one of this schema.
    """
    manifest = _read_manifest(folder)
    faults = [fault for name, digest in manifest["files"].items() if (fault := _find_damage(folder, name, digest))]
    if faults:
        return faults
    from deploy_prune.artifact.infer import find_differences  # needs onnxruntime

    try:
        return find_differences(folder)
    except Exception as error:  # whatever the engine raises on a file that it cannot run
        return [f"{manifest['model']} does not run: {str(error).strip().splitlines()[0]}"]


def checksum(path: Path) -> str:
    """SHA-256 in hexadecimal digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _find_damage(folder: Path, name: str, digest: str) -> str | None:
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        return f"{name} is outside the folder; expected files of the artifact alone"
    if not path.is_file():
        return f"{name} is missing"
    if checksum(path) != digest:
        return f"{name} was changed: its SHA-256 is not that of the manifest"
    return None


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    if not path.is_file():
        raise InputError(f"no {path}; expected the artifact folder of a finished run")
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path} is not JSON ({error}); take the folder from the run again") from error
    if not isinstance(manifest, dict) or manifest.get("schema") != SCHEMA:
        got = manifest.get("schema") if isinstance(manifest, dict) else type(manifest).__name__
        raise InputError(f"{path} has schema {got}, expected {SCHEMA}; use the version of deploy_prune that wrote it")
    if missing := sorted(_FIELDS - manifest.keys()):
        raise InputError(f"{path} lacks {', '.join(missing)}; take the folder from the run again")
    listed = {manifest["model"], *(sample["file"] for sample in manifest["samples"])}
    if unlisted := sorted(listed - manifest["files"].keys()):
        raise InputError(f"{path} has no checksum of {', '.join(unlisted)}; take the folder from the run again")
    return manifest
