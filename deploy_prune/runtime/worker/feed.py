"""Random inputs of the shapes and types that a model asks for, the same in every worker."""

from __future__ import annotations

from typing import Any

from deploy_prune.runtime.worker.refusal import RefusedError

INPUT_SEED = 0
# What random numbers can fill.
FLOATS = ("float64", "float32", "float16")
INTEGERS = ("int64", "int32", "int8", "uint8", "bool")


def make_array(name: str, kind: str, shape: list[int]) -> Any:
    """A NumPy array of random numbers: floats in [0, 1), integers 0 or 1.

    Args:
        name: of the input, for the refusal.
        kind: NumPy's name of the type.
        shape: all sizes are known.
    """
    import numpy

    random = numpy.random.default_rng(INPUT_SEED)
    if kind in FLOATS:
        return random.random(shape).astype(kind)
    if kind in INTEGERS:
        return random.integers(0, 2, shape).astype(kind)  # 0 and 1 are valid as token, index and mask alike
    raise RefusedError("input", f"input {name!r} is of type {kind}, which cannot be filled")


def fix_shape(name: str, shape: list[Any], batch: int, axes: dict[str, int]) -> list[int]:
    """Give every dynamic axis its size: from ``axes`` by its name, or the batch where it is the first."""
    fixed = []
    for position, size in enumerate(shape):
        if isinstance(size, int):
            fixed.append(size)
        elif size in axes:
            fixed.append(axes[size])
        elif position == 0:
            fixed.append(batch)
        else:
            advice = "give it under 'axes' in the profile"
            raise RefusedError("input", f"input {name!r} {shape} has no size for its axis {size!r}; {advice}")
    check_batch(name, fixed, batch)
    return fixed


def check_batch(name: str, shape: list[int], batch: int) -> None:
    """Refuse an input whose first axis is not the profile's batch."""
    if shape and shape[0] != batch:
        raise RefusedError("input", f"input {name!r} has a batch of {shape[0]}, the profile's 'batch' is {batch}")
