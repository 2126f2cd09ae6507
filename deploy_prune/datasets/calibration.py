"""The user's own inputs for calibration: a folder of pictures, or an array."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deploy_prune.datasets.pixels import SUFFIXES, fit, read_rgb
from deploy_prune.errors import InputError, MissingDependencyError

IMAGES = 16
"""Pictures taken of a folder, spread evenly over their sorted names: as many as a recipe takes by default."""


def read_calibration(path: Path, shape: Sequence[int]) -> NDArray[np.float32]:
    """Inputs of ``shape`` (C, H, W, or whatever the model takes), stacked to (n, *shape).

    Pictures are cut to the input's proportions, resized, and scaled to [0, 1], RGB. A network that wants them otherwise
    (normalised, say) takes a ``.npy`` or ``.npz`` with one array of what it is to be given; all of that is used.

    Raises:
        InputError: there is nothing of this shape there.
        MissingDependencyError: pictures are given and Pillow is not installed.
    """
    if path.is_dir():
        return _read_pictures(path, shape)
    if path.suffix in (".npy", ".npz") and path.is_file():
        return _read_array(path, shape)
    raise InputError(f"calibration data {path} not found; expected a folder of pictures, or a .npy or .npz file")


def _read_pictures(folder: Path, shape: Sequence[int]) -> NDArray[np.float32]:
    if len(shape) != 3 or shape[0] != 3:
        raise InputError(f"the model takes inputs of shape {tuple(shape)}, no pictures; give a .npy or .npz file")
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not found:
        raise InputError(f"no picture lies in {folder}; expected files such as .jpg or .png")
    n = min(IMAGES, len(found))
    try:
        images = [fit(read_rgb(found[i * len(found) // n]), shape[1], shape[2]) for i in range(n)]
    except ImportError as error:
        raise MissingDependencyError("pictures need Pillow; run: pip install 'deploy_prune[data]'") from error
    except OSError as error:
        raise InputError(f"a picture in {folder} cannot be read: {error}; take it away") from error
    return np.stack(images).transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)


def _read_array(path: Path, shape: Sequence[int]) -> NDArray[np.float32]:
    try:
        content = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error}); write it with numpy.save or numpy.savez") from error
    if isinstance(content, np.lib.npyio.NpzFile):
        if len(content.files) != 1:
            raise InputError(f"{path} holds {len(content.files)} arrays; expected one, of shape (n, …)")
        content = content[content.files[0]]
    if content.ndim != 1 + len(shape) or content.shape[1:] != tuple(shape) or not len(content):
        raise InputError(f"{path} has shape {content.shape}; the model takes (n, {', '.join(map(str, shape))})")
    return content.astype(np.float32)
