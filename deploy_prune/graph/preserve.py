"""Leave a model as it was found: attributes, training flags, buffers, random states and global switches."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from deploy_prune.graph.attributes import Attribute, TracedInt
from deploy_prune.graph.snapshot import Snapshot, is_plain_kind

_KEPT_APART = frozenset({"training", "_parameters", "_buffers", "_modules"})
_COMPUTE_WITH_SIZES = (
    *(nn.MultiheadAttention, nn.Transformer, nn.Unflatten, nn.LayerNorm, nn.RMSNorm),
    *(nn.modules.instancenorm._InstanceNorm, nn.RNNBase, nn.RNNCellBase),
)
_READ_BY_OTHERS = frozenset(
    "in_features out_features in_channels out_channels num_features num_channels embedding_dim".split()
)
"""Attributes of other layers that users' forwards read: ``torch.zeros(n, self.fc.out_features)``."""


@contextmanager
def preserved(model: nn.Module) -> Iterator[None]:
    """On exit everything reachable from the model (see :class:`Snapshot`) and all random states are as on entry."""
    with kept(model) as snapshot, _Writes(snapshot):
        yield


@contextmanager
def kept(model: nn.Module) -> Iterator[Snapshot]:
    """As :func:`preserved`, for runs whose operators are heard already: who does tells the snapshot of writes."""
    snapshot = Snapshot(model)
    fast_path = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    python_state, numpy_state = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(), _eager():
            yield snapshot
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)
        torch.backends.mha.set_fastpath_enabled(fast_path)
        snapshot.restore()


def _eager() -> AbstractContextManager[Any]:
    """Compiled modules run as written: in a kernel of their own nobody would hear their operators."""
    return torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else nullcontext()


class _Writes(TorchDispatchMode):
    def __init__(self, snapshot: Snapshot) -> None:
        super().__init__()
        self._snapshot = snapshot

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func._schema.is_mutable:
            self._snapshot.before((args, kwargs))
        return func(*args, **(kwargs or {}))


@contextmanager
def heard_calls(hear: Callable[..., Any]) -> Iterator[None]:
    """Let ``hear(call, module, args, kwargs)`` stand for ``call(module, *args, **kwargs)`` wherever a module is called.

    Global hooks would do, but with them torch takes the slow way into every module.
    """
    call = nn.Module.__call__
    nn.Module.__call__ = lambda module, *args, **kwargs: hear(call, module, args, kwargs)  # type: ignore[method-assign]
    try:
        yield
    finally:
        nn.Module.__call__ = call  # type: ignore[method-assign]


@contextmanager
def heard_functionals() -> Iterator[None]:
    """Let modes hear the calls inside ``torch.nn.functional``, not only the outermost one.

    Its functions ask ``has_torch_function…`` whether to hand themselves over whole; meanwhile the answer is no.
    """
    functional: Any = nn.functional
    asked = {k: v for k, v in vars(functional).items() if k.startswith("has_torch_function")}
    try:
        for name in asked:
            setattr(functional, name, lambda *_: False)
        yield
    finally:
        for name, function in asked.items():
            setattr(functional, name, function)


def numbers_of_buffers(model: nn.Module) -> dict[str, np.ndarray]:
    """The numbers of buffers that may hold positions (1-d integers), or one bound (0-d), by name.

    These are copies: a tensor whose memory NumPy shares cannot be resized any more, as observers of ranges do.
    """
    found = {}
    for name, buffer in model.named_buffers():
        if buffer.ndim == 1 and buffer.dtype in (torch.int64, torch.int32):
            found[name] = buffer.detach().clone().cpu().numpy()
        elif buffer.ndim == 0 and buffer.is_floating_point() and not buffer.is_meta:
            found[name] = np.asarray(buffer.item())
    return found


def holders(model: nn.Module) -> Iterator[tuple[str, tuple[str, ...], Any]]:
    """Everything that keeps sizes in attributes: (module name, path below it, object).

    These are the modules, and plain objects among their attributes (the ``config`` of Hugging Face models), each once.
    """
    seen: set[int] = set()
    for name, module in model.named_modules():
        yield name, (), module
        for key, value in list(module.__dict__.items()):
            kind: Any = type(value)
            if key in _KEPT_APART or id(value) in seen or not is_plain_kind(kind):
                continue
            seen.add(id(value))
            yield name, (key,), value


def trace_attributes(model: nn.Module) -> dict[Attribute, int]:
    """Put a :class:`TracedInt` for every integer attribute that the model's forward may read; returns their values.

    Of most layers of ``torch.nn`` only the sizes that others read are followed, since surgery sets them from their
    weights, and the number of a convolution's groups; of those whose forward computes with sizes, or that may have no
    weights, all are.
    """
    found: dict[Attribute, int] = {}
    for name, path, holder in holders(model):
        of_torch = type(holder).__module__.startswith("torch.nn.") and not isinstance(holder, _COMPUTE_WITH_SIZES)
        grouped = isinstance(holder, nn.modules.conv._ConvNd) and holder.groups > 1
        followed = {*_READ_BY_OTHERS, "groups"} if grouped else _READ_BY_OTHERS
        for key in [k for k in holder.__dict__ if not of_torch or k in followed]:
            if key.startswith("_") or key in _KEPT_APART:
                continue
            value = holder.__dict__[key]
            traced = _traced(value, Attribute(name, (*path, key)), found)
            if traced is not value:
                holder.__dict__[key] = traced
    return found


def _traced(value: Any, attribute: Attribute, found: dict[Attribute, int]) -> Any:
    if type(value) is int:
        found[attribute] = value
        return TracedInt(value, attribute)
    if type(value) in (tuple, list) and value and all(type(v) is int for v in value):
        path = attribute.path
        return type(value)(_traced(v, Attribute(attribute.module, (*path, k)), found) for k, v in enumerate(value))
    return value
