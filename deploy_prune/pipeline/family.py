"""Smaller models of the same family, from the names that the model's own library lists."""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
from torch import nn

from deploy_prune.errors import DeployPruneError
from deploy_prune.pipeline.named_model import library_models, load_model

# What tells the members of a family apart in their names: numbers, and words or letters for a size.
_SIZE = re.compile(
    r"(?<![a-z])(nano|femto|pico|atto|zepto|micro|mini|tiny|small|medium|base|large|xlarge|huge|giant|[tsmblhxn])"
    r"(?![a-z])|\d+"
)
MAX_MODELS = 2
"""The nearest smaller ones that are tried."""


def smaller_models(source: str, limit: int = MAX_MODELS) -> tuple[str, ...]:
    """Sources (``torchvision/resnet34``) of the family's members with fewer parameters, the largest of them first.

    A member's name differs in numbers and in words for a size only: ``resnet50`` and ``resnet18``, ``convnext_tiny``
    and ``convnext_small``. Of models whose library lists no names there are none.
    """
    library, _, name = source.partition("/")
    known = library_models(library)
    if name not in known:
        return ()
    members = family_members(name, known)
    own = _parameters(source)
    sizes = {f"{library}/{member}": _parameters(f"{library}/{member}") for member in members}
    smaller = [member for member, size in sizes.items() if size is not None and own is not None and size < own]
    return tuple(sorted(smaller, key=lambda member: -(sizes[member] or 0))[:limit])


def family_members(name: str, known: Sequence[str]) -> tuple[str, ...]:
    """The other names that differ from ``name`` in numbers and size words only."""
    pattern = _SIZE.sub("*", name)
    return tuple(other for other in known if other != name and _SIZE.sub("*", other) == pattern)


def _parameters(source: str) -> int | None:
    """How many parameters a model has, without making its weights; None where it cannot be built so."""
    try:
        with torch.device("meta"):
            module: nn.Module = load_model(source, image_size=None, task="detect").module
    except (DeployPruneError, RuntimeError, NotImplementedError, ValueError):
        return None
    return sum(parameter.numel() for parameter in module.parameters())
