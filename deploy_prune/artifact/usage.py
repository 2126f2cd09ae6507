"""How a model is used: the manifest's words for inputs, outputs and labelled samples."""

from typing import Annotated, Literal

import pydantic


def _plain(name: str) -> str:
    if name.startswith("/") or "\\" in name or ".." in name.split("/"):
        raise ValueError(f"{name!r} is outside the folder; expected a path below it")
    return name


FileName = Annotated[str, pydantic.AfterValidator(_plain)]
"""A file below the artifact's folder, with forward slashes."""


class Part(pydantic.BaseModel):
    """A part of the manifest: cannot change after reading, takes no unknown key, turns no text into a number."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", strict=True)


class Preprocessing(Part):
    """From a file to the input.

    ``crop``: the shorter side to ``size``, the middle taken. ``stretch``: both sides to ``size``. ``letterbox``: the
    longer side to ``size``, the rest filled. ``array``: a ``.npy`` file of the input's ``shape``, as it is. Pictures
    are RGB, channels first, divided by 255; the network normalises them itself.
    """

    kind: Literal["crop", "stretch", "letterbox", "array"]
    size: int | None = None  # pixels, height and width
    shape: tuple[int, ...] | None = None  # of an array
    exif_orientation: bool = False  # whether pictures are turned as their EXIF says

    @pydantic.model_validator(mode="after")
    def _size_of_its_kind(self) -> "Preprocessing":
        if (self.size is None) == (self.shape is None) or (self.kind == "array") == (self.shape is None):
            raise ValueError("give 'shape' for kind array, and 'size' for pictures")
        return self


class Selection(Part):
    """Which of a detector's boxes count.

    Attributes:
        score: that a box has to exceed.
        overlap: IoU with a better box of its class above which it goes.
        candidates: the best ones that are looked at.
        most: that are kept.
        every_class: whether a box counts for each class that exceeds ``score``, or for its best one only.
    """

    score: float
    overlap: float
    candidates: int
    most: int
    every_class: bool


class Keypoints(Part):
    """An object's points: names, values of each (x, y and perhaps a chance), and COCO's sigmas for the metric."""

    names: tuple[str, ...]
    values: Literal[2, 3]
    sigmas: tuple[float, ...]


class Postprocessing(Part):
    """From the outputs to an answer: ``kind`` names a decoder of ``inference/decoding.py``, which says its layout.

    ``raw`` stands for outputs without a decoder. ``selection`` is for answers, ``scoring`` for the metric.
    """

    kind: str
    selection: Selection | None = None
    scoring: Selection | None = None
    keypoints: Keypoints | None = None


class LabelledObject(Part):
    """An object of a picture, in its pixels.

    Attributes:
        class_number: its class.
        box: (x0, y0, x1, y1).
        corners: of a turned box, in order.
        keypoints: x, y, and 0 where a point is not labelled.
        crowd: whether it stands for many.
    """

    class_number: int
    box: tuple[float, float, float, float] | None = None
    corners: tuple[tuple[float, float], ...] | None = None
    keypoints: tuple[tuple[float, float, float], ...] | None = None
    crowd: bool = False


class Label(Part):
    """What is in a sample.

    ``class``: its ``class_number``. ``class_map``: a ``file`` with the class number of each pixel, 255 for none.
    ``objects``: these and, where they have outlines, a ``.npz`` ``file`` with their ``masks`` (objects, H, W).
    """

    kind: Literal["class", "objects", "class_map"]
    class_number: int | None = None
    objects: tuple[LabelledObject, ...] | None = None
    file: FileName | None = None


class Sample(Part):
    """A picture, or an array, of the validation data."""

    file: FileName
    label: Label | None = None
