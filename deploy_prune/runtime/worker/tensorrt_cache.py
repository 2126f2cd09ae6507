"""Engines that were built on this machine, kept so that the same model is not built again.

An engine runs on the GPU and under the TensorRT version that built it only, so it is never copied to another machine;
the key holds the host's name, since home folders are shared. An engine is executable code: nothing is loaded that this
package has not built itself.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from deploy_prune.runtime.worker.refusal import RefusedError

ENGINE, FACTS = "model.engine", "build.json"
_CHUNK_BYTES = 1 << 20
_BUILDING = ".building-"
# What a killed build has left is removed after a day; no build takes as long.
_STALE_S = 86_400


def open_cache(settings: dict[str, Any]) -> Path:
    """The folder of engines and timing caches, from the profile's ``cache`` or the user's cache folder; made if new."""
    user = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = Path(settings["cache"]) if settings["cache"] else user / "deploy_prune" / "tensorrt"
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob(_BUILDING + "*"):
        if time.time() - left.stat().st_mtime > _STALE_S:
            forget(left)
    return folder


def engine_key(model: str, version: str, choices: list[Any]) -> str:
    """Twenty hex digits of SHA-256 over the model's bytes and everything that the engine depends on besides."""
    digest = hashlib.sha256(json.dumps([platform.node(), version, choices]).encode("utf-8"))
    digest.update(file_digest(Path(model)).encode("ascii"))
    return digest.hexdigest()[:20]


def describe_source(model: str, version: str) -> dict[str, Any]:
    """What an engine is of, for its facts."""
    built_at = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    return {"model_sha256": file_digest(Path(model)), "tensorrt": version, "built_at": built_at}


def file_digest(path: Path) -> str:
    """SHA-256 of a file in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for chunk in iter(lambda: file.read(_CHUNK_BYTES), b""):
            digest.update(chunk)
    return digest.hexdigest()


def open_engine(place: Path, build: Callable[[Path], dict[str, Any]], load: Callable[[], None]) -> dict[str, Any]:
    """The facts of the engine in ``place`` once ``load`` has loaded it; one from earlier that fails is built again.

    Args:
        place: see ``build_once``.
        build: see ``build_once``.
        load: loads the engine, and raises ``RefusedError`` where that fails, as on another GPU or after an update.
    """
    existed = place.exists()
    facts = build_once(place, build)
    try:
        load()
    except RefusedError:
        if not existed:
            raise
        forget(place)
        facts = build_once(place, build)
        load()
    return facts


def build_once(place: Path, build: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
    """The facts of the engine in the folder ``place``, which is built where it is not there yet.

    Args:
        place: of this engine alone. It appears whole or not at all, so a build that is killed leaves nothing to trust.
        build: writes ``ENGINE`` into the folder that it is given, and returns what to keep as facts.
    """
    if not (place / FACTS).is_file():
        with tempfile.TemporaryDirectory(prefix=_BUILDING, dir=str(place.parent)) as name:
            folder = Path(name, "engine")
            folder.mkdir()
            facts = build(folder)
            engine = folder / ENGINE
            facts = {**facts, "engine_bytes": engine.stat().st_size, "engine_sha256": file_digest(engine)}
            (folder / FACTS).write_text(json.dumps(facts, indent=2), encoding="utf-8")
            if not place.exists():  # else another process was faster, and its engine is as good
                folder.rename(place)
    kept: dict[str, Any] = json.loads((place / FACTS).read_text(encoding="utf-8"))
    return kept


def forget(folder: Path) -> None:
    """Remove the folder of an engine that is of no use."""
    shutil.rmtree(str(folder), ignore_errors=True)
