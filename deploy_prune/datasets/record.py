"""What a written data set says of itself: arguments, the origin of each image, a checksum of the files."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from deploy_prune.datasets.formats import Origin
from deploy_prune.errors import InputError

RECORD_FILE = "dataset.json"
SCHEMA = 1  # raised whenever the same arguments give other pictures


@dataclass(frozen=True)
class Request:
    """The arguments that a data set follows from."""

    task: str
    train: int
    val: int
    image_size: int
    seed: int


def write_record(folder: Path, request: Request, origins: Sequence[Origin]) -> None:
    """Describe the finished data set in ``folder``."""
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    record = {
        "schema": SCHEMA,
        "request": asdict(request),
        "sha256": _checksum(folder, files),
        "files": files,
        "origins": [asdict(origin) for origin in origins],
    }
    (folder / RECORD_FILE).write_text(json.dumps(record) + "\n", encoding="utf-8")


def holds(folder: Path, request: Request) -> bool:
    """Whether ``folder`` holds the requested data set, unharmed; files that a training added do not matter.

    Raises:
        InputError: the folder is in the way: a file, another data set, a changed one, or anything else.
    """
    try:
        if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
            return False
    except OSError as error:
        raise InputError(f"cannot read {folder}: {error.strerror}; choose another folder") from error
    if not folder.is_dir():
        raise InputError(f"{folder} is a file, expected a folder to write: choose another name")
    try:
        record = json.loads((folder / RECORD_FILE).read_text(encoding="utf-8"))
        schema, made = record["schema"], Request(**record["request"])
        files, checksum = [str(name) for name in record["files"]], record["sha256"]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise InputError(f"{folder} is not empty and no data set of ours: choose another folder") from error
    if (schema, made) != (SCHEMA, request):
        raise InputError(f"{folder} holds another data set ({_words(schema, made)}): delete it or choose another")
    if _checksum(folder, files) != checksum:
        raise InputError(f"{folder} holds this data set, but files were changed or lost: delete it and repeat")
    return True


def _checksum(folder: Path, files: Sequence[str]) -> str:
    """SHA-256 over names and contents, in order; empty where a file is missing."""
    total = hashlib.sha256()
    for name in files:
        try:
            content = (folder / name).read_bytes()
        except OSError:
            return ""
        total.update(f"{name}\0{len(content)}\0".encode())
        total.update(content)
    return total.hexdigest()


def _words(schema: int, made: Request) -> str:
    return f"version {schema} with " + ", ".join(f"{name} {value}" for name, value in asdict(made).items())
