"""The user's program as the tracer meets it: how to call it, what it returns, its other forwards, its files."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from deploy_prune.graph.attributes import TracedInt

Inputs = Any
"""A tensor, a tuple or list of positional arguments, or a dict of keyword arguments."""


def call_model(model: Callable[..., Any], inputs: Inputs) -> Any:
    """``model(*inputs)`` for tuples and lists, ``model(**inputs)`` for dicts, else ``model(inputs)``."""
    if isinstance(inputs, Mapping):
        return model(**inputs)
    return model(*inputs) if isinstance(inputs, (tuple, list)) else model(inputs)


def plain(output: Any) -> Any:
    """An output as dicts, lists and tensors: mappings of any class, dataclasses, one object of attributes.

    Other objects nested deeper, such as key-value caches, are the model's own state and come back empty.
    """
    if hasattr(output, "__dict__") and not isinstance(output, (torch.Tensor, Mapping, list, tuple)):
        return _plain(vars(output))
    return _plain(output)


def _plain(output: Any) -> Any:
    if isinstance(output, Mapping):
        return {key: _plain(value) for key, value in output.items()}
    if isinstance(output, (list, tuple)):
        return [_plain(value) for value in output]
    if is_dataclass(output) and not isinstance(output, type):
        return {field.name: _plain(getattr(output, field.name, None)) for field in fields(output)}
    return output if isinstance(output, torch.Tensor) else None


def alternative_forwards(module: nn.Module) -> list[Callable[..., Any]]:
    """Other forwards of a module (``forward_split`` beside ``forward``), to be heard as well.

    Only those of the same signature that read an integer attribute which ``forward`` does not read: whoever switches
    to them (exporters do) needs that attribute right.
    """
    kind = type(module)
    code = getattr(getattr(kind, "forward", None), "__code__", None)
    attributes = {k for k, v in module.__dict__.items() if isinstance(v, TracedInt)}
    if code is None or not attributes:
        return []
    unread = attributes - set(code.co_names)
    found = []
    for name in dir(kind) if unread else ():
        other = getattr(kind, name) if name.startswith("forward_") else None
        if inspect.isfunction(other) and unread & set(other.__code__.co_names):
            own, expected = inspect.signature(other).parameters, inspect.signature(kind.forward).parameters
            if list(own) == list(expected):
                found.append(getattr(module, name))
    return found


def names_in_scripts(model: nn.Module) -> set[str]:
    """Parameters and buffers of TorchScript modules, whose compiled code may hold their sizes as constants."""
    scripts = [name for name, module in model.named_modules() if isinstance(module, torch.jit.ScriptModule)]
    named = [name for name, _ in (*model.named_parameters(), *model.named_buffers())] if scripts else []
    return {name for name in named if any(name.startswith(f"{script}.") for script in scripts)}


@cache
def users_file(path: str) -> str:
    """A source file as reports name it, below site-packages or by its last part; empty for torch's and our own."""
    parts = Path(path).parts
    if {"torch", "deploy_prune"} & set(parts):
        return ""
    return "/".join(parts[parts.index("site-packages") + 1 :]) if "site-packages" in parts else parts[-1]
