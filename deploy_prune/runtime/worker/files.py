"""Files that a client has sent, kept by their SHA-256, so that none is sent twice and an interrupted one goes on."""

from __future__ import annotations

import base64
import errno
import hashlib
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deploy_prune.runtime.worker.refusal import RefusedError

# What the files together may take before the longest unused ones are removed.
LIMIT_BYTES = 2 * 2**30
_READ_BYTES = 2**20


def cache_folder() -> Path:
    """The one folder that is left on a machine: ``deploy_prune`` where its user keeps caches."""
    parent = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(parent) / "deploy_prune"


class FileCache:
    """Files by digest in one folder; ``DIGEST`` is whole and checked, ``DIGEST.part`` is what has come so far."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find(self, digest: str, size: int) -> dict[str, Any]:
        """How many bytes of a file are here, and whether that is all.

        Raises:
            RefusedError: what is missing does not fit on the disk.
        """
        whole = self._path(digest)
        self._folder.mkdir(parents=True, exist_ok=True)
        if whole.is_file() and whole.stat().st_size == size:
            os.utime(whole)
            return {"bytes": size, "whole": True}
        part = self._part(digest)
        have = part.stat().st_size if part.is_file() else 0
        if have > size:  # of no use
            part.unlink()
            have = 0
        free = shutil.disk_usage(self._folder).free
        if size - have > free:
            raise RefusedError("disk", f"{self._folder} has {free} bytes left, {size - have} are needed; make room")
        return {"bytes": have, "whole": False}

    def put(self, digest: str, offset: int, data: str) -> dict[str, Any]:
        """Append bytes, given in base64, at ``offset``, which is where the file ends now."""
        part = self._part(digest)
        try:
            with part.open("ab") as file:
                if file.tell() != offset:
                    raise RefusedError("failed", f"a part of a file came for byte {offset}, {file.tell()} are here")
                file.write(base64.b64decode(data))
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise RefusedError("disk", f"{self._folder} is full; make room") from error
            raise
        return {"bytes": part.stat().st_size}

    def keep(self, digest: str) -> dict[str, Any]:
        """Check a file that has come whole and keep it; a spoilt one is removed, for another try."""
        part = self._part(digest)
        got = digest_of(part)
        if got != digest:
            part.unlink()
            raise RefusedError("spoilt", f"a file arrived with the checksum {got[:12]} instead of {digest[:12]}")
        with part.open("rb+") as file:  # a board may lose its current at any time
            os.fsync(file.fileno())
        part.replace(self._path(digest))
        self._make_room()
        return {}

    def link(self, files: Sequence[Sequence[str]], folder: Path) -> str:
        """Give files, as pairs of name and digest, their names in a fresh folder; the path of the first."""
        folder.mkdir(parents=True)
        for name, digest in files:
            if Path(name).name != name:
                raise RefusedError("input", f"{name!r} is no plain file name")
            (folder / name).symlink_to(self._path(digest))
        return str(folder / files[0][0])

    def _path(self, digest: str) -> Path:
        if not re.fullmatch("[0-9a-f]{64}", digest):
            raise RefusedError("input", f"{digest!r} is no SHA-256")
        return self._folder / digest

    def _part(self, digest: str) -> Path:
        return self._path(digest).with_suffix(".part")

    def _make_room(self) -> None:
        """Remove the longest unused files beyond ``LIMIT_BYTES``; the newest always stays."""
        found = sorted(((path.stat(), path) for path in self._folder.iterdir()), key=lambda pair: -pair[0].st_mtime)
        used = 0
        for number, (facts, path) in enumerate(found):
            used += facts.st_size
            if number and used > LIMIT_BYTES:
                path.unlink()


def digest_of(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for block in iter(lambda: file.read(_READ_BYTES), b""):
            digest.update(block)
    return digest.hexdigest()
