"""The oracle: the pruned model must compute what the original computes with every removed slice set to zero."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from deploy_prune.errors import VerificationError
from deploy_prune.graph.calling import Inputs, call_model, plain
from deploy_prune.graph.preserve import preserved
from deploy_prune.pruner.copying import copy_model
from deploy_prune.pruner.neutral import DenseInt, Widths
from deploy_prune.pruner.plan import Plan
from deploy_prune.pruner.surgery import get_attribute, set_attribute

TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-4}
"""Largest accepted relative error by floating type (design: dependency graph, section 5)."""


@dataclass(frozen=True)
class Verification:
    """Largest relative error (maximum difference over maximum magnitude, per output tensor) in each mode.

    None stands for a mode in which the model does not run.
    """

    eval_error: float | None
    train_error: float | None
    dtype: str


def verify(
    original: nn.Module,
    pruned: nn.Module,
    plan: Plan,
    inputs: Inputs,
    *,
    forward_fn: Callable[[nn.Module, Inputs], Any] | None = None,
    output_transform: Callable[[Any], Any] | None = None,
    tolerance: float | None = None,
) -> Verification:
    """Compare a pruned model with its masked original in eval and train mode, in float64 where the model runs in it.

    Batch norms use batch statistics in train mode, on the inputs stacked twice if a batch of one is too small. Dropout
    is switched off, and what depends on widths by definition is made equal (:mod:`deploy_prune.pruner.neutral`). A
    model that can run in one mode only is compared in that one.

    Raises:
        VerificationError: an output differs by more than ``tolerance`` (default: :data:`TOLERANCE`), or in shape.
    """
    forward = forward_fn or call_model
    masked, candidate, data = masked_original(original, plan), copy_model(pruned), inputs
    dtype = torch.float32
    if all(t.device.type != "mps" for t in original.parameters()):
        dtype = torch.float64
        masked, candidate, data = masked.double(), candidate.double(), _to_double(inputs)
        try:
            _Run(forward, None)(masked, data, False, nullcontext)
        except Exception:
            dtype, masked, candidate, data = torch.float32, masked.float(), candidate.float(), inputs
    limit = TOLERANCE[dtype] if tolerance is None else tolerance
    _count_as_dense(original, candidate, plan)
    run = _Run(forward, output_transform)
    errors: list[float | None] = []
    branches = [masked.get_submodule(name) for name in plan.branches]
    failure: Exception | None = None
    for training in (False, True):
        try:
            expected, batch, widths = _recorded(run, masked, data, training, branches)
        except Exception as error:
            failure = failure or error
            errors.append(None)
            continue
        try:
            got = run(candidate, batch, training, widths.replaying)
        except Exception as error:
            raise VerificationError(
                f"the pruned model fails in {_mode(training)} mode, in which the original runs: "
                f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"
            ) from error
        errors.append(_compare(expected, got, training, limit))
    if errors == [None, None] and failure is not None:
        raise failure
    return Verification(errors[0], errors[1], str(dtype).removeprefix("torch."))


def _recorded(
    run: _Run, masked: nn.Module, data: Inputs, training: bool, branches: Sequence[nn.Module]
) -> tuple[list[tuple[str, torch.Tensor]], Inputs, Widths]:
    """What the masked original computes, the batch that it ran on, and the widths that it computed with."""
    widths = Widths(branches)
    try:
        return run(masked, data, training, widths.recording), data, widths
    except Exception:
        if not training:
            raise
    data, widths = _stacked(data), Widths(branches)
    return run(masked, data, training, widths.recording), data, widths


def masked_original(original: nn.Module, plan: Plan) -> nn.Module:
    """A copy of the original in which every slice and every branch that the plan removes is zero."""
    masked = copy_model(original)
    tensors = dict((*masked.named_parameters(), *masked.named_buffers()))
    positions = {r.buffer for r in plan.renumberings}
    with torch.no_grad():
        for cut in plan.cuts:
            if cut.parameter in positions:
                continue
            gone = torch.ones(cut.size, dtype=torch.bool)
            gone[list(cut.kept)] = False
            tensors[cut.parameter].index_fill_(cut.axis, gone.nonzero().squeeze(1).to(tensors[cut.parameter].device), 0)
        for branch in plan.branches:
            for parameter in masked.get_submodule(branch).parameters():
                parameter.zero_()
    return masked


def _stacked(inputs: Inputs) -> Inputs:
    """A batch of two for one."""
    return torch.cat([inputs, inputs.flip(-1)]) if isinstance(inputs, torch.Tensor) else inputs


def _to_double(inputs: Inputs) -> Inputs:
    return pytree.tree_map_only(torch.Tensor, lambda t: t.double() if t.is_floating_point() else t, inputs)


def _count_as_dense(original: nn.Module, candidate: nn.Module, plan: Plan) -> None:
    """Sizes in the candidate's attributes count as the original's where its code makes floats of them."""
    for change in plan.attributes:
        dense = get_attribute(original.get_submodule(change.module), change.path)
        set_attribute(candidate.get_submodule(change.module), change.path, DenseInt(change.value, dense))


@dataclass(frozen=True)
class _Run:
    """One forward pass in a mode; the floating outputs with their names."""

    forward: Callable[[nn.Module, Inputs], Any]
    transform: Callable[[Any], Any] | None

    def __call__(
        self, model: nn.Module, inputs: Inputs, training: bool, within: Callable[[], AbstractContextManager[None]]
    ) -> list[tuple[str, torch.Tensor]]:
        with preserved(model), torch.no_grad(), within():
            model.train(training)
            output = self.forward(model, inputs)
        output = self.transform(output) if self.transform else output
        leaves = pytree.tree_flatten_with_path(plain(output, model))[0]
        return [
            (pytree.keystr(p) or "output", t)
            for p, t in leaves
            if isinstance(t, torch.Tensor) and t.is_floating_point()
        ]


def _mode(training: bool) -> str:
    return "train" if training else "eval"


def _compare(
    expected: list[tuple[str, torch.Tensor]], got: list[tuple[str, torch.Tensor]], training: bool, limit: float
) -> float:
    mode = _mode(training)
    if not expected:
        raise VerificationError(
            f"the output in {mode} mode holds no floating-point tensor to compare; "
            "give an output_transform that returns one"
        )
    worst = 0.0
    for (name, a), (_, b) in zip(expected, got, strict=True):
        if a.shape != b.shape:
            raise VerificationError(
                f"{name} has shape {tuple(b.shape)} after pruning, {tuple(a.shape)} before, in {mode} mode"
            )
        if not a.numel():
            continue
        error = float((a - b).abs().max() / a.abs().max().clamp_min(1e-30))
        if not error <= limit:
            raise VerificationError(
                f"the pruned model differs from the masked original in {name}: relative error {error:.2e}, allowed "
                f"{limit:.0e}, in {mode} mode; the plan does not fit the model's dependencies"
            )
        worst = max(worst, error)
    return worst
