"""Pruned models on disk without pickle: the plans as JSON, the weights as safetensors, replayed onto a fresh model.

A saved model is a folder of two files. ``plan.json`` holds the plans that led from the dense to the pruned model, and
the sha256 of ``model.safetensors``, which holds every parameter and buffer. Nothing in either is executed.

Torch-Pruning's names for the same purpose are here too: :func:`state_dict`, :func:`load_state_dict`, :data:`save` and
:data:`load`.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pydantic
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from deploy_prune.errors import InputError, PlanError
from deploy_prune.pruner.branches import lies_within
from deploy_prune.pruner.copying import copy_model
from deploy_prune.pruner.plan import Plan
from deploy_prune.pruner.surgery import apply_plan, put_shortcut

SCHEMA = 1
PLAN_FILE, WEIGHTS_FILE = "plan.json", "model.safetensors"
_INTERNAL = frozenset(nn.Module().__dict__)

save = torch.save
"""Torch-Pruning's name: any object, by pickle."""
load = torch.load
"""Torch-Pruning's name: what :data:`save` wrote."""


def save_pruned(model: nn.Module, plans: Plan | Sequence[Plan], path: Path | str) -> Path:
    """Write a pruned model into the folder ``path``; a model saved there before is replaced.

    Args:
        model: the pruned model. Its parameters and buffers are saved with their dtype, also non-persistent buffers; a
            tied tensor is saved once.
        plans: the plan that made it of the dense model; of iterative pruning all plans, in order.
        path: the folder; made where it does not exist.

    Raises:
        PlanError: the model does not have the shapes that the last plan leaves.
        InputError: the folder cannot be written.
    """
    plans = (plans,) if isinstance(plans, Plan) else tuple(plans)
    tensors = _tensors(model)
    for cut in plans[-1].cuts if plans else ():
        found = tensors[cut.parameter].shape[cut.axis] if cut.parameter in tensors else 0
        if found != len(cut.kept):
            raise PlanError(
                f"axis {cut.axis} of {cut.parameter} has {found} indices, and the last plan keeps {len(cut.kept)}; "
                "give the pruned model and all plans that made it, in order"
            )
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write(folder / WEIGHTS_FILE, lambda temporary: save_file(_apart(tensors), temporary))
        content = {"schema": SCHEMA, "weights": _sha256(folder / WEIGHTS_FILE), "plans": [asdict(p) for p in plans]}
        text = json.dumps({**content, "sha256": _checksum(content)})
        _write(folder / PLAN_FILE, lambda temporary: temporary.write_text(text, encoding="utf-8"))
    except (OSError, SafetensorError) as error:
        raise InputError(f"cannot write the model to {folder}: {error}; choose another folder") from error
    return folder


def load_pruned(model: nn.Module, path: Path | str) -> nn.Module:
    """The pruned model in the folder ``path``, as :func:`save_pruned` wrote it.

    Args:
        model: the dense model, freshly constructed; it is left untouched. What files do not say comes from it: devices,
            ``requires_grad``, train or eval mode, and which tensors are tied.
        path: the folder.

    Raises:
        InputError: a file is missing, changed, or not of this schema.
        PlanError: the files belong to a model of another architecture.
    """
    folder = Path(path)
    plans = _read_plans(folder)
    pruned = copy_model(model)
    for plan in plans:
        apply_plan(pruned, plan, inplace=True)
    saved, own = load_file(folder / WEIGHTS_FILE), _tensors(pruned)
    _check_names(saved, own, folder)
    for name, tensor in own.items():
        if saved[name].shape != tensor.shape:
            raise PlanError(
                f"{name} in {folder} has shape {tuple(saved[name].shape)}, the model after its plans "
                f"{tuple(tensor.shape)}; give the dense model that was pruned"
            )
        if saved[name].is_floating_point() != tensor.is_floating_point():
            raise PlanError(
                f"{name} in {folder} is {saved[name].dtype}, in the model {tensor.dtype}; give the dense model "
                "that was pruned"
            )
    _fill(pruned, saved)
    return pruned


def state_dict(model: nn.Module) -> dict[str, Any]:
    """All that a pruned model is, as tensors and plain values: its weights and the sizes in its modules' attributes.

    ``torch.save`` writes it and ``torch.load`` reads it back with ``weights_only=True``. Attributes of objects that are
    no modules (a configuration) are not in it; :func:`save_pruned` keeps those too.
    """
    attributes = {
        name: {key: value for key, value in module.__dict__.items() if key not in _INTERNAL and _is_plain(value)}
        for name, module in model.named_modules()
    }
    return {"full_state_dict": _tensors(model), "attributions": attributes}


def load_state_dict(model: nn.Module, state_dict: Mapping[str, Any]) -> nn.Module:
    """Give a dense model the sizes and weights of :func:`state_dict`, in place; returns it.

    Raises:
        InputError: ``state_dict`` was not made by that function.
        PlanError: it belongs to a model of another architecture.
    """
    if not {"full_state_dict", "attributions"} <= set(state_dict):
        raise InputError("this is no state of a pruned model; give what deploy_prune.state_dict returned")
    modules = dict(model.named_modules())
    saved, attributions = state_dict["full_state_dict"], state_dict["attributions"]
    classes = {name: type(module).__name__ for name, module in modules.items()}
    branches = [n for n, a in attributions.items() if a.get("shortcut_of") == classes.get(n, "")]
    if {n for n in modules if n in branches or not lies_within(n, branches)} != attributions.keys():
        raise PlanError("the state has other modules than the model; give the dense model that was pruned")
    _check_names(saved, {n: t for n, t in _tensors(model).items() if not lies_within(n, branches)}, "the state")
    for branch in branches:
        put_shortcut(model, branch)
    modules = dict(model.named_modules())
    _fill(model, saved)
    for name, attributes in attributions.items():
        for key, value in attributes.items():
            setattr(modules[name], key, copy.deepcopy(value))
    return model


def _tensors(model: nn.Module) -> dict[str, torch.Tensor]:
    """Parameters and buffers by their first name."""
    return {name: tensor.detach() for name, tensor in (*model.named_parameters(), *model.named_buffers())}


def _apart(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Contiguous on the CPU, each in memory of its own, as the file format wants them."""
    return {name: tensor.cpu().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()}


def _check_names(saved: Mapping[str, Any], own: Mapping[str, Any], where: Path | str) -> None:
    for names, lacks in ((own.keys() - saved.keys(), where), (saved.keys() - own.keys(), "the model")):
        if names:
            raise PlanError(f"{lacks} has no tensor {min(names)!r}; give the dense model that was pruned")


def _fill(model: nn.Module, saved: Mapping[str, torch.Tensor]) -> None:
    """Parameters and buffers stay the same objects, so that tied ones stay tied."""
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        tensor.data = saved[name].to(tensor.device, copy=True)


def _is_plain(value: Any) -> bool:
    if isinstance(value, (tuple, list)):
        return all(map(_is_plain, value))
    if isinstance(value, dict):
        return all(map(_is_plain, (*value.keys(), *value.values())))
    if isinstance(value, torch.Tensor):  # kept from the last run, such as anchors; not a layer's list of its weights
        return not isinstance(value, nn.Parameter) and not value.requires_grad
    return value is None or isinstance(value, (bool, int, float, str))


def _write(path: Path, write: Callable[[Path], Any]) -> None:
    """Write under a temporary name first, so that the file appears whole."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        write(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _read_plans(folder: Path) -> tuple[Plan, ...]:
    """The plans of a saved model, once both files are found to be as they were written."""
    path, weights = folder / PLAN_FILE, folder / WEIGHTS_FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        found = _sha256(weights)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read the model in {folder}: {error}; give a folder written by save_pruned") from error
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        raise InputError(f"{path} is no saved model of schema {SCHEMA}; give a folder written by save_pruned")
    checksum = content.pop("sha256", None)
    for file, same in ((path, checksum == _checksum(content)), (weights, found == content.get("weights"))):
        if not same:
            raise InputError(f"{file} is not as it was saved (its sha256 differs); copy or save the model again")
    try:
        return pydantic.TypeAdapter(tuple[Plan, ...]).validate_python(content.get("plans"))
    except pydantic.ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"]))
        raise InputError(
            f"{path} holds no plans ({where}: {error.errors()[0]['msg']}); save the model again"
        ) from error


def _checksum(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
