"""Sparse training as a recipe asks for it: which pruner adds to the gradients, and how much."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from deploy_prune.graph.preserve import preserved
from deploy_prune.pruner.regularized import BNScalePruner, GroupNormPruner, GrowingRegPruner


@dataclass(frozen=True)
class SparseTraining:
    """A penalty on units, for a task's training (its ``Regularizer``).

    Attributes:
        kind: ``bn_scale``, ``group_norm`` or ``growing``, see ``deploy_prune.pruner.regularized``.
        strength: weight of the penalty; a growing one gets there in the last epoch, in equal parts per epoch.
        example_inputs: what the network is analysed with, on the CPU.
        output_transform: picks from its output what keeps its shape.
    """

    kind: str
    strength: float
    example_inputs: Tensor = field(repr=False)
    output_transform: Callable[[Any], Any] = field(repr=False)

    def attach(self, model: nn.Module) -> Callable[[float], None]:
        """Analyse the network that is trained, and return what is called before each of its steps."""
        inputs = self.example_inputs.to(next(model.parameters()).device)
        with preserved(model):
            model.eval()
            if self.kind == "growing":
                return self._growing(GrowingRegPruner(model, inputs, output_transform=self.output_transform))
            kind = {"bn_scale": BNScalePruner, "group_norm": GroupNormPruner}[self.kind]
            pruner = kind(model, inputs, reg=self.strength, output_transform=self.output_transform)
        return lambda _: pruner.regularize(model)

    def _growing(self, pruner: GrowingRegPruner) -> Callable[[float], None]:
        """The decay of a unit follows from its importance now: nothing has to be stored for a run to go on."""
        pruner.reg = 0.0

        def regularize(share: float) -> None:
            pruner.update_regularizer()
            pruner.delta_reg = self.strength * share
            pruner.update_reg()
            pruner.regularize(pruner.model)

        return regularize
