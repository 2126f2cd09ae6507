"""Write a data set of the embedded digits: whole or not at all, the same bytes for the same arguments."""

import difflib
import shutil
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import Progress, track

from deploy_prune.datasets.formats import FORMATS, TASKS, Format, Item, Origin
from deploy_prune.datasets.record import Request, holds, write_record
from deploy_prune.datasets.sources import SPLITS, load_sources
from deploy_prune.errors import InputError


def write_digits(
    task: str,
    out: Path,
    *,
    train: int = 800,
    val: int = 200,
    image_size: int = 160,
    seed: int = 0,
    progress: Progress | None = None,
) -> Path:
    """Write the digits in the format of ``task`` into the folder ``out``.

    The same arguments give the same bytes (with the same versions of Pillow, NumPy and SciPy). Scenes of
    "detect", "segment", "pose", "semantic" and "coco" are the same pictures. ``out`` may exist if it is empty or holds
    this very data set, which is then checked and kept.

    Args:
        task: one of ``TASKS``; "digits" are the plain digits, each at most once and in fixed order. Beside "classify"
            there are "classify-large", in which the digit is easier to read, "classify-medium" and "classify-hard".
        out: the folder to write.
        train: number of training images.
        val: number of validation images; no digit and no piece of photograph is in both.
        image_size: side of the square images, pixels.
        seed: what the scenes are drawn from.
        progress: where the bar is shown; by default on stderr if that is a terminal.

    Returns:
        The data set's yaml (detect, segment, pose, obb) or its folder (classify, semantic, coco, digits).

    Raises:
        InputError: an argument is out of range, or ``out`` cannot be written or holds something else.
        MissingDependencyError: scikit-learn or scikit-image is not installed.
    """
    out = Path(out)
    request = Request(task, train, val, image_size, seed)
    written = _check(request)
    if not holds(out, request):
        _write_whole(out, lambda folder: _write_items(folder, request, written, progress))
    return out / written.entry


def _check(request: Request) -> Format:
    """The format of the request's task; raises InputError for what cannot be made."""
    if request.task not in FORMATS:
        near = difflib.get_close_matches(request.task, TASKS, n=1)
        meant = f"did you mean {near[0]!r}? " if near else ""
        raise InputError(f"unknown task {request.task!r}: {meant}choose one of {', '.join(TASKS)}")
    wanted = FORMATS[request.task]
    _at_least("image_size", request.image_size, wanted.smallest_size, "pixels")
    _at_least("seed", request.seed, 0, "")
    for split in SPLITS:
        count = getattr(request, split)
        _at_least(split, count, wanted.fewest, "image" if wanted.fewest == 1 else "images, one for each class")
        if wanted.once and count > (most := len(load_sources()[split].digits)):
            raise InputError(f"{split} is {count}, but has only {most} plain digits: ask for {most} or fewer")
    return wanted


def _at_least(name: str, value: int, least: int, unit: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise InputError(f"{name} is {value!r}, expected a whole number")
    if value < least:
        raise InputError(f"{name} is {value}, expected at least {least} {unit}".rstrip())


def _write_whole(out: Path, fill: Callable[[Path], None]) -> None:
    """Let ``fill`` write a folder beside ``out``, then give it that name; on any failure nothing is left."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".partial", dir=out.parent))
    except OSError as error:
        raise InputError(f"cannot write to {out.parent}: {error.strerror or error}; choose another folder") from error
    try:
        folder = scratch / out.name  # inside, because mkdtemp's own folder is closed to other users
        folder.mkdir()
        fill(folder)
        if out.exists():
            out.rmdir()  # it is empty; not every system replaces a folder
        folder.replace(out)
    except OSError as error:
        raise InputError(f"cannot write {out}: {error.strerror or error}; nothing was left there") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _write_items(folder: Path, request: Request, wanted: Format, progress: Progress | None) -> None:
    sources = load_sources()
    items = [(split, index) for split in SPLITS for index in range(getattr(request, split))]
    origins: list[Origin] = []
    entries: dict[str, list[dict[str, Any]]] = {split: [] for split in SPLITS}
    console = Console(stderr=True)
    show = (
        progress.track if progress else partial(track, console=console, transient=True, disable=not console.is_terminal)
    )
    for split, index in show(items, description="write digits"):
        chance = np.random.SeedSequence(request.seed, spawn_key=(SPLITS.index(split), index))
        item = Item(folder, sources[split], index, request.image_size, np.random.default_rng(chance), entries[split])
        origins.append(wanted.write(item))
    if wanted.finish is not None:
        wanted.finish(folder, entries)
    write_record(folder, request, origins)
