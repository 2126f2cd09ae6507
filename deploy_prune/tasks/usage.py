"""What a user of an exported file needs to know of a task: pictures in, answers out, and samples to try it on."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from deploy_prune.artifact.usage import Label, Postprocessing, Preprocessing


@dataclass(frozen=True)
class UsageSample:
    """A validation sample.

    Attributes:
        inputs: as the task itself gives it to the network, (1, ...).
        picture: its file; None where the inputs are no picture.
        label: what is in it; None where that cannot be said in the manifest's words.
        class_map: the file with its map of class numbers, if the label is one.
        masks: the pixels (objects, H, W) of the label's objects, if they have outlines.
    """

    inputs: Tensor
    picture: Path | None = None
    label: Label | None = None
    class_map: Path | None = None
    masks: NDArray[np.bool_] | None = None


@dataclass(frozen=True)
class Usage:
    """How an exported file is used.

    Attributes:
        classes: names in the order of the outputs; none where there are no classes.
        preprocessing: from a file to the input.
        postprocessing: from the outputs to an answer.
        samples: of the validation data.
        notes: what a user has to know before using it.
    """

    classes: tuple[str, ...]
    preprocessing: Preprocessing
    postprocessing: Postprocessing
    samples: tuple[UsageSample, ...]
    notes: tuple[str, ...] = ()


def spread(count: int, wanted: int) -> Sequence[int]:
    """Up to ``wanted`` of ``count`` places, evenly spaced."""
    taken = min(count, wanted)
    return [i * count // taken for i in range(taken)]
