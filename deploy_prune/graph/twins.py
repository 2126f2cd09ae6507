"""Modules that a run happened not to call although others of their kind stand in for them: experts without a token.

Which expert of a mixture, or which of two branches, is called depends on numbers. One that no run reached may be
called by the next input, so it must be pruned as its siblings are: it runs on what a sibling of the same shape gets,
and its result is tied to the sibling's.
"""

from __future__ import annotations

from collections.abc import Collection

from torch import nn


def unreached_twins(
    model: nn.Module, reached: Collection[str], called: Collection[int]
) -> list[tuple[nn.Module, nn.Module]]:
    """Pairs of a module that was called and a sibling with the same tensors of which none was reached.

    Args:
        model: the traced model.
        reached: names of parameters and buffers that a run used.
        called: ids of modules that were called.
    """
    twins = []
    for name, container in model.named_modules():
        if isinstance(container, nn.Sequential):
            continue  # one after the other: none stands in for another
        children = dict(container.named_children())
        heard = {key: child for key, child in children.items() if id(child) in called}
        for key, child in children.items():
            prefix = f"{name}.{key}." if name else f"{key}."
            if key in heard or any(n.startswith(prefix) for n in reached):
                continue
            twin = next((other for other in heard.values() if _shapes(other) == _shapes(child)), None)
            if twin is not None and _shapes(child):
                twins.append((twin, child))
    return twins


def _shapes(module: nn.Module) -> list[tuple[type, str, tuple[int, ...]]]:
    return [(type(module), n, tuple(p.shape)) for n, p in module.named_parameters()]
