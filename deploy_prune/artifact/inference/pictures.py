"""From a picture's file to the network's input, as the manifest's ``preprocessing`` says."""

from __future__ import annotations  # list[str] on Python 3.8

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from deploy_prune.artifact.inference.refusal import RefusalError


class Placement(NamedTuple):
    """Where a picture of ``width`` x ``height`` lies in the network's input: at ``scale`` times its pixel + offset."""

    width: int
    height: int
    scale_x: float = 1.0
    scale_y: float = 1.0
    left: float = 0.0
    top: float = 0.0

    def to_picture(self, points: Any) -> Any:
        """Points (..., 2) as (x, y) of the input, in pixels of the picture."""
        return (points - np.array([self.left, self.top])) / np.array([self.scale_x, self.scale_y])


def prepare(path: Path, preprocessing: dict[str, Any]) -> tuple[Any, Placement]:
    """The network's input of shape (1, ...), float32 for pictures, and where the picture lies in it.

    Raises:
        RefusalError: the file is missing, or is not what the network takes.
    """
    if preprocessing["kind"] == "array":
        return _read_array(path, preprocessing["shape"]), Placement(0, 0)
    image, size = _read_picture(path, preprocessing["exif_orientation"]), preprocessing["size"]
    pixels, placement = _KINDS[preprocessing["kind"]](image, size)
    scaled = np.asarray(pixels, np.float32) / 255  # (S, S, 3) in [0, 1]
    return np.ascontiguousarray(scaled.transpose(2, 0, 1)[None]), placement


def resize_bilinear(values: Any, rows: Any, columns: Any) -> Any:
    """``values`` (H, W, ...) between its pixels, at these rows (h,) and columns (w,); (h, w, ...) in float32.

    Pixel i has its centre at i; outside, the nearest pixel counts. Nothing is averaged where it shrinks.
    """
    height, width = values.shape[:2]
    rows, columns = np.clip(rows, 0, height - 1), np.clip(columns, 0, width - 1)
    top, left = np.floor(rows).astype(int), np.floor(columns).astype(int)
    bottom, right = np.minimum(top + 1, height - 1), np.minimum(left + 1, width - 1)
    down = (rows - top).astype(np.float32).reshape((-1, 1) + (1,) * (values.ndim - 2))
    across = (columns - left).astype(np.float32).reshape((-1,) + (1,) * (values.ndim - 2))

    def along(chosen: Any) -> Any:
        line = values[chosen].astype(np.float32)
        return line[:, left] * (1 - across) + line[:, right] * across

    return along(top) * (1 - down) + along(bottom) * down


def scaled_positions(count: int, before: int) -> Any:
    """Where ``count`` pixels lie among ``before`` on the same length: centres, from the first pixel's."""
    return (np.arange(count) + 0.5) * (before / count) - 0.5


def _crop(image: Any, size: int) -> tuple[Any, Placement]:
    """The shorter side is brought to ``size`` by Pillow's bilinear filter, and the middle taken."""
    width, height = image.size
    short = min(width, height)
    wide, high = size * width // short, size * height // short
    left, top = round((wide - size) / 2), round((high - size) / 2)
    resized = image if short == size else image.resize((wide, high), _bilinear())
    return resized.crop((left, top, left + size, top + size)), Placement(
        width, height, wide / width, high / height, -left, -top
    )


def _stretch(image: Any, size: int) -> tuple[Any, Placement]:
    """Both sides are brought to ``size`` by Pillow's bilinear filter, whatever the proportions."""
    width, height = image.size
    resized = image if (width, height) == (size, size) else image.resize((size, size), _bilinear())
    return resized, Placement(width, height, size / width, size / height)


def _letterbox(image: Any, size: int) -> tuple[Any, Placement]:
    """The longer side is brought to ``size``, bilinear between pixels; grey 114 fills the rest on both sides."""
    width, height = image.size
    long, pixels = max(width, height), np.asarray(image)
    wide, high = -(-width * size // long), -(-height * size // long)  # rounded up
    if long != size:
        pixels = resize_bilinear(pixels, scaled_positions(high, height), scaled_positions(wide, width))
        pixels = np.rint(pixels)
    left, top = (size - wide) // 2, (size - high) // 2
    filled = np.full((size, size, 3), 114, np.uint8)
    filled[top : top + high, left : left + wide] = pixels
    return filled, Placement(width, height, wide / width, high / height, left, top)


_KINDS = {"crop": _crop, "stretch": _stretch, "letterbox": _letterbox}


def _bilinear() -> Any:
    from PIL import Image

    return Image.Resampling.BILINEAR


def _read_picture(path: Path, exif_orientation: bool) -> Any:
    """The picture in RGB, turned as its EXIF says where that is wanted."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(path) as opened:
            upright = ImageOps.exif_transpose(opened) if exif_orientation else opened
            return upright.convert("RGB")
    except (UnidentifiedImageError, ImportError):  # Ultralytics makes Pillow look for a package for HEIC then
        raise RefusalError(f"{path} is no picture; give a JPEG or PNG") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise RefusalError(f"{path} cannot be read as a picture ({error}); give a JPEG or PNG") from error


def _read_array(path: Path, shape: list[int]) -> Any:
    try:
        values = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise RefusalError(f"{path} cannot be read as an array ({error}); give a .npy file of shape {shape}") from error
    if list(values.shape) != shape:
        raise RefusalError(f"{path} has shape {list(values.shape)}, and the network takes {shape}")
    return values
