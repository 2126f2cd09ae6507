"""Check an artifact folder again: its manifest, the checksums, and that its models compute what they did."""

import hashlib
import importlib.util
from pathlib import Path

from deploy_prune.artifact.inference.samples import check_model, why_unchecked
from deploy_prune.artifact.manifest import MANIFEST, read_manifest
from deploy_prune.errors import MissingDependencyError

OWN_CHECKSUM = "manifest.json.sha256"  # as `sha256sum --check` reads it
_APART = {MANIFEST, OWN_CHECKSUM, "stage.json"}  # the last is the run's own note
_NEEDED = {"PIL": "pillow", "onnxruntime": "'deploy_prune[onnx]'"}


def find_faults(folder: Path) -> list[str]:
    """One line for each fault. Models are run only if all files are in order; the folder's code never is.

    Raises:
        InputError: there is no manifest, or it is not one of this schema.
        MissingDependencyError: what runs the models is not installed.
    """
    manifest = read_manifest(folder)
    faults = _find_manifest_damage(folder)
    for name, digest in sorted(manifest.files.items()):
        faults += _find_damage(folder, name, digest)
    strangers = sorted(list_files(folder) - manifest.files.keys())
    faults += [f"{name} is not in the manifest; take it away" for name in strangers]
    if faults:
        return faults
    for package, install in _NEEDED.items():
        if package == "PIL" and manifest.preprocessing.kind == "array":
            continue
        if importlib.util.find_spec(package) is None:
            raise MissingDependencyError(f"running the models needs {package}; run: pip install {install}")
    plain = manifest.to_plain()
    runnable = [model for model in plain["models"] if why_unchecked(model) is None]
    return [fault for model in runnable for fault in check_model(folder, plain, model)]


def list_left_out(folder: Path) -> list[str]:
    """One line for each model that cannot be compared here, whose checksums alone :func:`find_faults` looks at."""
    found = [why_unchecked(model) for model in read_manifest(folder).to_plain()["models"]]
    return [f"{reason}; only its checksum is right" for reason in found if reason is not None]


def list_files(folder: Path) -> set[str]:
    """The files of an artifact by their names in the manifest, which they may be missing in; not the manifest itself.

    Python's own cache, which ``infer.py`` leaves, is no part of it.
    """
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}
    return {name for name in found - _APART if "__pycache__" not in name.split("/")}


def checksum(path: Path) -> str:
    """SHA-256 in hexadecimal digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _find_manifest_damage(folder: Path) -> list[str]:
    try:
        said = (folder / OWN_CHECKSUM).read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError):
        return [f"{OWN_CHECKSUM} is missing or unreadable"]
    return [] if said == [checksum(folder / MANIFEST), MANIFEST] else [f"{MANIFEST} was changed: see {OWN_CHECKSUM}"]


def _find_damage(folder: Path, name: str, digest: str) -> list[str]:
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        return [f"{name} leads out of the folder; expected a file of the artifact"]
    if not path.is_file():
        return [f"{name} is missing"]
    try:
        return [] if checksum(path) == digest else [f"{name} was changed: its SHA-256 is not that of the manifest"]
    except OSError as error:
        return [f"{name} cannot be read: {error.strerror}"]
