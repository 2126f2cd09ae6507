"""Real data on which a model is judged while it is pruned, and the loss by which."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from deploy_prune.errors import InputError
from deploy_prune.graph.calling import call_model

Loss = Callable[[nn.Module, Any], torch.Tensor]
"""``loss(model, batch)``: one number, the mean over the batch's samples, that gradients flow through."""

Outputs = list[torch.Tensor]
"""The floating tensors of a model's output."""

BATCH_ELEMENTS = 10_000_000
"""Numbers in a batch at most, where one tensor is split into batches: eight images of 640 pixels."""


@dataclass(frozen=True, eq=False)
class Calibration:
    """Batches, and what a model loses on them.

    Attributes:
        batches: what ``loss`` takes beside the model; without a loss the model's inputs.
        loss: the task's own loss; None where none is known: then the outputs of the dense model are the standard.
        output_transform: picks from the model's output what counts, where there is no loss.
        singles: the same data, one sample to a batch; None: batches are split along their tensors' first axis.
    """

    batches: Sequence[Any]
    loss: Loss | None = None
    output_transform: Callable[[Any], Any] | None = None
    singles: Sequence[Any] | None = None

    def __post_init__(self) -> None:
        if not len(self.batches):
            raise InputError("there are no calibration batches; give at least one")

    @classmethod
    def of(
        cls,
        data: torch.Tensor | Sequence[Any],
        loss: Loss | None = None,
        output_transform: Callable[[Any], Any] | None = None,
    ) -> Calibration:
        """Calibration on one tensor of inputs (n, …), split into batches of sensible size, or on given batches."""
        if isinstance(data, torch.Tensor):
            if not data.ndim or not len(data):
                raise InputError(f"calibration inputs have shape {tuple(data.shape)}; expected (n, …) with n above 0")
            per_batch = max(1, BATCH_ELEMENTS * len(data) // data.numel())
            return cls(data.split(per_batch), loss, output_transform)
        return cls(data, loss, output_transform)

    def samples(self) -> Iterator[Any]:
        """The data, one sample to a batch; a batch whose tensors differ in length stays as it is."""
        if self.singles is not None:
            yield from self.singles
            return
        for batch in self.batches:
            leaves, spec = pytree.tree_flatten(batch)
            lengths = {len(t) if t.ndim else 0 for t in leaves if isinstance(t, torch.Tensor)}
            if len(lengths) != 1 or 0 in lengths:
                yield batch
                continue
            for k in range(lengths.pop()):
                parts = [t[k : k + 1] if isinstance(t, torch.Tensor) else t for t in leaves]
                yield pytree.tree_unflatten(parts, spec)

    def outputs(self, model: nn.Module, batch: Any) -> Outputs:
        """What counts of the model's output on a batch of inputs."""
        output = call_model(model, batch)
        output = self.output_transform(output) if self.output_transform else output
        return [t.float() for t in pytree.tree_leaves(output) if isinstance(t, torch.Tensor) and t.is_floating_point()]
