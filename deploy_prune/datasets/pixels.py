"""Pictures in and out; the one place that knows Pillow."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deploy_prune.errors import InputError

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp"}

# High enough that no edge moves; a fifth of the bytes of a PNG and faster to decode in every training epoch.
JPEG_QUALITY = 95


def read_rgb(path: Path) -> NDArray[np.uint8]:
    """The picture in ``path`` as (H, W, 3)."""
    from PIL import Image

    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def resize(image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """The square picture (S, S, 3) or (S, S), brought to ``size`` x ``size`` with cubic interpolation."""
    from PIL import Image

    return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC))


def fit(image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """The middle of a picture (H, W, 3) in the proportions of ``height`` x ``width``, brought to that size."""
    from PIL import Image, ImageOps

    return np.asarray(ImageOps.fit(Image.fromarray(image), (width, height), Image.Resampling.BICUBIC))


def save_jpeg(image: NDArray[np.uint8], path: Path) -> None:
    """Write (H, W, 3), colour at full resolution: it is by colour that digit and photograph differ."""
    from PIL import Image

    Image.fromarray(image).save(path, quality=JPEG_QUALITY, subsampling=0)


def save_png(image: NDArray[np.uint8], path: Path) -> None:
    """Write (H, W) or (H, W, 3) without loss."""
    from PIL import Image

    Image.fromarray(image).save(path, compress_level=1)


def read_whole(path: Path, *, indices: bool = False) -> NDArray[np.uint8]:
    """The user's picture in ``path``: (H, W, 3), or with ``indices`` (H, W) of a grey or palette picture's values.

    Raises:
        InputError: it cannot be decoded to its last pixel, or has no indices.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            if not indices:
                return np.asarray(image.convert("RGB"))
            if image.mode not in ("L", "P"):
                raise InputError(
                    f"{path} has pixels of mode {image.mode}; expected a grey or palette PNG of class numbers"
                )
            return np.asarray(image)
    except UnidentifiedImageError:
        raise InputError(f"{path} is no picture; take it away or write it again") from None
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"{path} cannot be decoded ({error}); take it away or write it again") from error


def list_pictures(folder: Path) -> list[Path]:
    """The picture files directly in ``folder``, by name; none if there is no such folder."""
    return sorted(
        path for path in folder.glob("*") if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
    )
