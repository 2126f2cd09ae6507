"""The user's program as the tracer meets it: how to call it, what it returns, its other forwards, its files."""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

import torch
from torch import nn

from deploy_prune.graph.attributes import TracedInt

_NO_OBJECTS = (
    torch.Tensor, Mapping, list, tuple, deque, nn.Module, type, ModuleType, FunctionType, MethodType,
    BuiltinFunctionType, partial, int, float, complex, str, bytes,
)  # fmt: skip
"""Containers, which have rules of their own, and what holds no results of a model."""

Inputs = Any
"""A tensor, a tuple or list of positional arguments, or a dict of keyword arguments."""


def call_model(model: Callable[..., Any], inputs: Inputs) -> Any:
    """``model(*inputs)`` for tuples and lists, ``model(**inputs)`` for dicts, else ``model(inputs)``."""
    if isinstance(inputs, Mapping):
        return model(**inputs)
    return model(*inputs) if isinstance(inputs, (tuple, list)) else model(inputs)


def plain(output: Any, model: nn.Module | None = None) -> Any:
    """An output as dicts, lists and tensors: mappings of any class, dataclasses, objects of attributes, however nested.

    An object that stands under the name of an argument of the model's own ``forward`` (a key-value cache as
    ``past_key_values``) is state that a later call is given back, and comes back empty.

    Args:
        output: what the model returned.
        model: the model; None: no object is its state.
    """
    named = set(inspect.signature(model.forward).parameters) if model is not None else set()
    seen: set[int] = set()
    parts = _parts(output)
    if isinstance(parts, dict):
        return {k: None if k in named and _is_object(v) else _plain(v, seen) for k, v in parts.items()}
    return _plain(output, seen)


def _plain(output: Any, seen: set[int]) -> Any:
    """The same for what lies deeper; an object that was ``seen`` before is not repeated."""
    if isinstance(output, torch.Tensor):
        return output
    if _is_object(output):
        if id(output) in seen:
            return None
        seen.add(id(output))
    parts = _parts(output)
    if isinstance(parts, dict):
        return {key: _plain(part, seen) for key, part in parts.items()}
    return [_plain(part, seen) for part in parts]


def _parts(output: Any) -> dict[Any, Any] | list[Any]:
    """What an output is made of, by name where it has names; nothing for modules, classes and plain data."""
    if isinstance(output, Mapping):
        return dict(output)
    if isinstance(output, (list, tuple, deque)):
        return list(output)
    if not _is_object(output):
        return []
    slots = [name for kind in type(output).__mro__ for name in _as_names(vars(kind).get("__slots__", ()))]
    found = {name: getattr(output, name) for name in slots if hasattr(output, name)}
    return found | getattr(output, "__dict__", {})


def _as_names(slots: Any) -> tuple[str, ...]:
    return (slots,) if isinstance(slots, str) else tuple(slots)


def _is_object(thing: Any) -> bool:
    """Whether it is an instance of a class in Python that may hold tensors in attributes."""
    if isinstance(thing, _NO_OBJECTS):
        return False
    return hasattr(thing, "__dict__") or hasattr(type(thing), "__slots__")


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
