"""Apply a plan: slice every tensor once, set the sizes that modules keep in attributes, put shortcuts for branches."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrize

from deploy_prune.errors import PlanError
from deploy_prune.pruner.copying import copy_model
from deploy_prune.pruner.layer_sizes import update_sizes
from deploy_prune.pruner.plan import Plan, architecture_hash

_INTERNAL = frozenset(nn.Module().__dict__)


def apply_plan(model: nn.Module, plan: Plan, *, inplace: bool = False) -> nn.Module:
    """The pruned model; the given one is left untouched unless ``inplace``.

    Parameters are new ``nn.Parameter`` objects with the same dtype, device, ``requires_grad`` and sliced ``grad``; a
    tensor that stands under several names stays one tensor.

    Raises:
        PlanError: the plan was made for another architecture.
    """
    found = architecture_hash(model)
    if found != plan.architecture:
        raise PlanError(
            f"the plan was made for another architecture (hash {plan.architecture[:12]}, this model has {found[:12]}); "
            "apply it to the dense model that it was made from"
        )
    model = model if inplace else copy_model(model)
    cuts: dict[str, list[tuple[int, torch.Tensor]]] = defaultdict(list)
    kept: dict[tuple[int, ...], torch.Tensor] = {}  # the axes of a group mostly keep the same indices
    for cut in plan.cuts:
        if cut.kept not in kept:
            kept[cut.kept] = torch.tensor(cut.kept)
        cuts[cut.parameter].append((cut.axis, kept[cut.kept]))
    touched = _slice_tensors(model, cuts)
    for renumbering in plan.renumberings:
        positions = model.get_buffer(renumbering.buffer)
        removed = torch.tensor(renumbering.removed, device=positions.device)
        positions -= torch.searchsorted(removed, positions.long()).to(positions.dtype)
    for change in plan.attributes:
        set_attribute(model.get_submodule(change.module), change.path, change.value)
    for module in touched:
        update_sizes(module)
    for branch in plan.branches:
        put_shortcut(model, branch)
    return model


def put_shortcut(model: nn.Module, name: str) -> None:
    """An ``nn.Identity`` in place of a module, with the plain attributes that frameworks leave on it.

    Its attribute ``shortcut_of`` is the name of the module's class.
    """
    module, shortcut = model.get_submodule(name), nn.Identity()
    shortcut.__dict__ |= {k: v for k, v in module.__dict__.items() if k not in _INTERNAL and _is_plain(v)}
    shortcut.__dict__["shortcut_of"] = type(module).__name__
    shortcut.train(module.training)
    for parent in list(model.modules()):
        for key, child in parent._modules.items():
            if child is module:
                parent._modules[key] = shortcut


def _is_plain(value: Any) -> bool:
    if isinstance(value, (tuple, list)):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, (bool, int, float, str))


@torch.no_grad()
def _slice_tensors(model: nn.Module, cuts: dict[str, list[tuple[int, torch.Tensor]]]) -> list[nn.Module]:
    """Replace every cut tensor wherever it is registered; returns the modules that own one."""
    new: dict[int, torch.Tensor] = {}  # by id of the old ones, which all stand somewhere when the walk begins
    touched = []
    for name, module in model.named_modules():
        hit = False
        for registry in (module._parameters, module._buffers):
            for key, tensor in registry.items():
                axes = cuts.get(f"{name}.{key}" if name else key)
                if tensor is not None and axes and id(tensor) not in new:
                    new[id(tensor)] = _sliced(tensor, axes)
                if id(tensor) in new:
                    registry[key] = new[id(tensor)]
                    hit = True
        if hit:
            touched.append(module)
    cut = set(map(id, new.values()))
    for module in filter(parametrize.is_parametrized, model.modules()):
        computed_from: Any = module.parametrizations
        if not cut.isdisjoint(map(id, computed_from.parameters())):
            touched.append(module)
    for module in touched:
        _recompute(module)
    return touched


def _recompute(module: nn.Module) -> None:
    """Weights that hooks of ``torch.nn.utils`` (old weight and spectral norm, masks) compute before each forward."""
    training, module.training = module.training, False  # a spectral norm then keeps its vectors
    with torch.no_grad():
        for hook in module._forward_pre_hooks.values():
            if type(hook).__module__.startswith("torch.nn.utils."):
                hook(module, ())
    module.training = training


def _sliced(tensor: torch.Tensor, axes: list[tuple[int, torch.Tensor]]) -> torch.Tensor:
    def take(data: torch.Tensor) -> torch.Tensor:
        for axis, kept in axes:
            data = data.index_select(axis, kept.to(data.device))
        return data.contiguous()

    sliced = take(tensor.detach())
    if not isinstance(tensor, nn.Parameter):
        return sliced
    parameter = nn.Parameter(sliced, requires_grad=tensor.requires_grad)
    if tensor.grad is not None:
        parameter.grad = take(tensor.grad)
    return parameter


def set_attribute(holder: Any, path: tuple[str | int, ...], value: int) -> None:
    """Set ``holder.config.sizes[1]`` for the path ``("config", "sizes", 1)``; tuples are built anew."""
    first, *rest = path
    if not rest:
        setattr(holder, str(first), value)
    elif isinstance(rest[0], int):
        items = list(getattr(holder, str(first)))
        items[rest[0]] = value
        setattr(holder, str(first), type(getattr(holder, str(first)))(items))
    else:
        set_attribute(getattr(holder, str(first)), tuple(rest), value)


def get_attribute(holder: Any, path: tuple[str | int, ...]) -> int:
    """What :func:`set_attribute` sets."""
    for step in path:
        holder = holder[step] if isinstance(step, int) else getattr(holder, step)
    return int(holder)
