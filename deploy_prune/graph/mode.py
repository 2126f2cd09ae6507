"""Eval and train mode: how a model enters them, and whether anything in it asks which of them it is in."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn


def enter_mode(model: nn.Module, training: bool) -> None:
    """Train or eval mode; batch norms stay in eval, so that their statistics do not move and any batch size works."""
    model.train(training)
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._NormBase):
            module.train(False)


_DROPPING = ("torch.nn.", "torchvision.ops.stochastic_depth", "torchvision.ops.drop_block", "timm.layers.drop")
"""Python modules of layers that run the same operators with the same sizes in both modes, but for elementwise noise."""


@contextmanager
def readers_of_mode(model: nn.Module) -> Iterator[set[str]]:
    """Who reads ``module.training`` within: names of Python modules, or of classes that do something on ``train()``.

    Layers of ``torch.nn`` and layers that drop at random do not count: what they add in train mode is elementwise. A
    model that has no other readers says the same in both modes.
    """
    readers = {kind.__qualname__ for kind in set(map(type, model.modules())) if _reacts(kind)}
    flag = _Flag(readers)
    nn.Module.training = flag  # type: ignore[assignment]
    try:
        yield readers
    finally:
        if nn.Module.__dict__.get("training") is flag:
            del nn.Module.training


def _reacts(kind: type[nn.Module]) -> bool:
    """Whether a class has a ``training``, ``train`` or ``eval`` of its own."""
    own = [base for base in kind.__mro__ if base is not nn.Module and not base.__module__.startswith("torch.nn.")]
    return any({"training", "train", "eval"} & vars(base).keys() for base in own)


class _Flag:
    """Stands before every module's own flag, as data descriptors of a class do, and notes who reads it."""

    def __init__(self, readers: set[str]) -> None:
        self._readers = readers

    def __get__(self, module: nn.Module | None, owner: type) -> Any:
        if module is None or "training" not in module.__dict__:
            raise AttributeError("training")
        reader = sys._getframe(1).f_globals.get("__name__", "")
        if not reader.startswith(_DROPPING):
            self._readers.add(reader)
        return module.__dict__["training"]

    def __set__(self, module: nn.Module, value: bool) -> None:
        module.__dict__["training"] = value
