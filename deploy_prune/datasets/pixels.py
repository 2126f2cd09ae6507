"""Pictures in and out; the one place that knows Pillow."""

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deploy_prune.errors import InputError

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp"}

# High enough that no edge moves; a fifth of the bytes of a PNG and faster to decode in every training epoch.
JPEG_QUALITY = 95
_KNOWN = {".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}  # that Pillow reads without further packages
_ENDS = {"JPEG": b"\xff\xd9", "PNG": b"IEND\xaeB`\x82"}  # the last bytes of a whole file


def read_rgb(path: Path) -> NDArray[np.uint8]:
    """The picture in ``path`` as (H, W, 3)."""
    from PIL import Image

    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def find_damage(path: Path) -> str | None:
    """What is wrong with a picture's file, in a few words; None if its head is sound and its end is there.

    Pixels are decoded only where the file does not end as its format does: it may be cut off, or carry bytes behind
    the picture, which harms nobody. Formats that Pillow does not know are not looked at.
    """
    from PIL import Image

    try:
        if path.stat().st_size == 0:
            return "an empty file"
        if path.suffix.lower() not in _KNOWN:
            return None
        with path.open("rb") as file, Image.open(file) as image:
            if (end := _ENDS.get(image.format or "")) is not None:
                file.seek(-len(end), os.SEEK_END)
                if file.read() != end:
                    image.load()
    except FileNotFoundError:
        return "no such file"
    except (Image.UnidentifiedImageError, ImportError):  # Ultralytics makes Pillow look for a package for HEIC then
        return "no picture, or a damaged one"
    except (OSError, SyntaxError, ValueError) as error:
        return f"a damaged picture ({error})"
    return None


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
    except InputError:
        raise
    except (UnidentifiedImageError, ImportError):  # Ultralytics makes Pillow look for a package for HEIC then
        raise InputError(f"{path} is no picture; take it away or write it again") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"{path} cannot be decoded ({error}); take it away or write it again") from error


def list_pictures(folder: Path) -> list[Path]:
    """The picture files directly in ``folder``, by name; none if there is no such folder."""
    return sorted(
        path for path in folder.glob("*") if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
    )
