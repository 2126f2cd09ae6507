"""Copies of models, also of those on which ``copy.deepcopy`` gives up."""

from __future__ import annotations

import copy
from typing import Any, TypeVar

import torch
from torch import nn
from torch.utils import _pytree as pytree

Model = TypeVar("Model", bound=nn.Module)


def copy_model(model: Model) -> Model:
    """A deep copy. Tensors computed from parameters are copied without their history; scripted functions are shared."""
    memo: dict[int, Any] = {}
    for module in model.modules():
        for value in pytree.tree_leaves([v for k, v in module.__dict__.items() if k not in _REGISTERED]):
            if isinstance(value, torch.Tensor) and not value.is_leaf:
                memo[id(value)] = value.detach().clone()
            elif isinstance(value, torch.jit.ScriptFunction):
                memo[id(value)] = value
    return copy.deepcopy(model, memo)


_REGISTERED = frozenset({"_parameters", "_modules"})
