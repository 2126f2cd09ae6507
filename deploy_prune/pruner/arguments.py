"""What users name in arguments: indices, and layers, types of layers and parameters of the model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral
from typing import Any

import torch
from torch import nn

from deploy_prune.errors import InputError


def as_indices(idxs: Any) -> list[int]:
    """Indices as Python integers, from a list, an array or a tensor of them; one integer stands for itself.

    Raises:
        InputError: they are masks, fractions or no numbers.
    """
    many = isinstance(idxs, Iterable) and not isinstance(idxs, str) and getattr(idxs, "ndim", 1) > 0
    found = [i.item() if hasattr(i, "item") and getattr(i, "ndim", 1) == 0 else i for i in (idxs if many else (idxs,))]
    for index in found:
        if isinstance(index, bool):
            raise InputError("indices are a mask of true and false; give the positions, such as mask.nonzero().ravel()")
        if not isinstance(index, Integral):
            raise InputError(f"indices hold {_shown(index)}; give whole numbers, such as [2, 6, 9]")
    return [int(i) for i in found]


def as_list(given: Any, argument: str) -> list[Any]:
    """An argument that lists things; None is an empty list.

    Raises:
        InputError: it is one thing, or text.
    """
    if given is None:
        return []
    if isinstance(given, (str, nn.Module, type, nn.Parameter)) or not isinstance(given, Iterable):
        raise InputError(f"{argument} is {_shown(given)}; give a list")
    return list(given)


def axes_given(unwrapped: Any, names: Mapping[int, str]) -> dict[str, int]:
    """Axes of parameters of the model, by name, from a dict of parameters or a list of pairs; others do no harm.

    Args:
        unwrapped: what the user gave.
        names: of the model's parameters by ``id``.

    Raises:
        InputError: it is neither, or a parameter has no such axis.
    """
    pairs = list(unwrapped.items()) if isinstance(unwrapped, Mapping) else as_list(unwrapped, "unwrapped_parameters")
    for pair in pairs:
        if not (isinstance(pair, (tuple, list)) and len(pair) == 2 and isinstance(pair[0], torch.Tensor)):
            raise InputError(f"unwrapped_parameters holds {_shown(pair)}; give pairs (parameter, axis)")
        parameter, axis = pair
        if not isinstance(axis, int) or not -parameter.ndim <= axis < parameter.ndim:
            raise InputError(f"unwrapped_parameters: {_shown(parameter)} has no axis {axis!r}")
    return {names[id(p)]: axis % p.ndim for p, axis in pairs if id(p) in names}


def refuse_strangers(modules: Iterable[nn.Module], listed: Sequence[Any], argument: str, types: bool = True) -> None:
    """Refuse what is no layer or parameter of a model, nor (with ``types``) a type of layers.

    Args:
        modules: all of the model.
        listed: what the user named.
        argument: where.
        types: whether types and parameters will do.

    Raises:
        InputError: which it is, and what to give.
    """
    known = set(modules)
    for thing in listed:
        if isinstance(thing, nn.Module) and thing in known:
            continue
        if types and isinstance(thing, type) and issubclass(thing, nn.Module):
            continue
        if types and any(thing is p for m in known for p in m.parameters(recurse=False)):
            continue
        raise InputError(f"{argument} names {_stranger(thing)}")


def _stranger(thing: Any) -> str:
    """What a thing is that the model does not have, and what to give in its place."""
    if isinstance(thing, str):
        return f"the text {thing!r}; give the layer itself, such as model.get_submodule(name)"
    if isinstance(thing, (nn.Module, nn.Parameter)):
        return f"{_shown(thing)} that is not in the model; give layers of the model that is pruned, not of a copy of it"
    return f"{_shown(thing)}, which is no layer; give layers of the model"


def _shown(thing: Any) -> str:
    """A thing in a message, on one line."""
    if isinstance(thing, torch.Tensor):
        return f"a parameter of shape {tuple(thing.shape)}"
    if isinstance(thing, nn.Module):
        lines = str(thing).splitlines()
        return f"the layer {lines[0]}" if len(lines) == 1 else f"a {type(thing).__name__}"
    if isinstance(thing, type):
        return f"the type {thing.__name__}"
    text = repr(thing).splitlines()[0]
    return text if len(text) <= 60 else f"a {type(thing).__name__}"
