"""Folders and text files that commands write."""

import os
from pathlib import Path

from deploy_prune.errors import InputError


def make_folder(path: Path) -> None:
    """Make a folder if it is not there."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make the folder {path}: {error.strerror}; choose another") from error


def write_text(path: Path, text: str) -> None:
    """Write a file under a temporary name first, so that it appears whole."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}; choose another file") from error
