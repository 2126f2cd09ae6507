"""Sparse training: pruners that add to the gradients what drives the units that will go towards zero.

Between ``loss.backward()`` and ``optimizer.step()`` call ``pruner.regularize(model)``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from deploy_prune.graph.calling import Inputs
from deploy_prune.importance.weights import Slice, weights_of
from deploy_prune.pruner.group import Group
from deploy_prune.pruner.node import modules_named
from deploy_prune.pruner.pruners import BasePruner
from deploy_prune.pruner.ranking import Criterion, unit_scores


class BNScalePruner(BasePruner):
    """Network slimming (Liu et al., ICCV 2017): L1 on the scales of batch norms; see :class:`BasePruner`.

    Args:
        model: the model to prune.
        example_inputs: as for :class:`BasePruner`.
        importance: the criterion.
        reg: weight of the penalty ``reg * Σ|γ|``.
        group_lasso: in its place ``reg * Σ_units sqrt(p) * ‖γ‖₂`` over the p scales of each unit (Yuan & Lin, 2006).
        settings: as for :class:`BasePruner`.
    """

    def __init__(
        self, model: nn.Module, example_inputs: Inputs, importance: Criterion | None = None, reg: float = 1e-5,
        group_lasso: bool = False, **settings: Any,
    ) -> None:  # fmt: skip
        super().__init__(model, example_inputs, importance, **settings)
        self.reg = reg
        self.group_lasso = group_lasso

    @torch.no_grad()
    def regularize(self, model: nn.Module, reg: float | None = None) -> None:
        """Add the penalty's gradient to the scales' gradients; ``reg`` overrides the pruner's."""
        strength = self.reg if reg is None else reg
        if self.group_lasso:
            self._lasso(strength)
            return
        ignored = modules_named(self.model.modules(), self.ignored_layers)
        for module in model.modules():
            scale = module.weight if isinstance(module, nn.modules.batchnorm._BatchNorm) else None
            if scale is not None and scale.grad is not None and module not in ignored:
                scale.grad += strength * scale.sign()

    def _lasso(self, strength: float) -> None:
        for view in _views(self):
            scales = weights_of(view, target_types=(nn.modules.batchnorm._BatchNorm,))
            if scales:
                squares = torch.stack([_squares(s) for s in scales])
                _decay(scales, strength / (squares.mean(0) + 1e-9).sqrt())


class GroupNormPruner(BasePruner):
    """Group sparsity of DepGraph (Fang et al., CVPR 2023, group-level pruning): unimportant units decay more.

    Every weight w of unit k gets the gradient ``reg * γ_k * w``, that of ``reg/2 * Σ_k γ_k ‖w_k‖²``, with
    ``γ_k = 2^(alpha * (I_max - I_k) / (I_max - I_min))`` and I the square root of the criterion's score.

    Args:
        model: the model to prune.
        example_inputs: as for :class:`BasePruner`.
        importance: the criterion.
        reg: weight of the penalty.
        alpha: the least important unit decays ``2**alpha`` times as fast as the most important.
        settings: as for :class:`BasePruner`.
    """

    def __init__(
        self, model: nn.Module, example_inputs: Inputs, importance: Criterion | None = None, reg: float = 1e-4,
        alpha: float = 4, **settings: Any,
    ) -> None:  # fmt: skip
        super().__init__(model, example_inputs, importance, **settings)
        self.reg = reg
        self.alpha = alpha

    @torch.no_grad()
    def regularize(self, model: nn.Module, alpha: float | None = None, bias: bool = False) -> None:
        """Add the penalty's gradient to the gradients of all weights.

        Args:
            model: the pruner's model.
            alpha: how many times as fast the least important unit decays; default ``2**self.alpha``.
            bias: whether biases decay too.
        """
        spread = 2.0**self.alpha if alpha is None else float(alpha)
        for view in _views(self):
            scores = unit_scores(view, self.importance)
            if scores is not None:
                norms = scores.clamp_min(0).sqrt()
                _decay(weights_of(view, bias=bias), self.reg * spread ** _unimportance(norms))


class GrowingRegPruner(BasePruner):
    """Growing regularisation (Wang et al., ICLR 2021): the decay of unimportant units grows with time.

    Every weight w of unit k gets the gradient ``γ_k * w``; γ starts at ``reg``, and each :meth:`update_reg` adds
    ``delta_reg * (I_max - I_k) / (I_max - I_min)``.

    Args:
        model: the model to prune.
        example_inputs: as for :class:`BasePruner`.
        importance: the criterion.
        reg: the decay to begin with.
        delta_reg: what the least important unit's decay gains at a time.
        settings: as for :class:`BasePruner`.
    """

    def __init__(
        self, model: nn.Module, example_inputs: Inputs, importance: Criterion | None = None, reg: float = 1e-5,
        delta_reg: float = 1e-5, **settings: Any,
    ) -> None:  # fmt: skip
        super().__init__(model, example_inputs, importance, **settings)
        self.reg = reg
        self.delta_reg = delta_reg
        self.update_regularizer()

    def update_regularizer(self) -> None:
        """Let the decay of every unit start anew."""
        self._decays = [torch.full((view.width,), self.reg) for view in _views(self)]

    @torch.no_grad()
    def update_reg(self) -> None:
        """Let the decay of unimportant units grow."""
        for k, view in enumerate(_views(self)):
            scores = unit_scores(view, self.importance)
            if scores is not None:
                self._decays[k] = self._decays[k] + self.delta_reg * _unimportance(scores)

    @torch.no_grad()
    def regularize(self, model: nn.Module, bias: bool = False) -> None:
        """Add the decay to the gradients of all weights, and of biases if asked."""
        for decay, view in zip(self._decays, _views(self), strict=True):
            _decay(weights_of(view, bias=bias), decay)


def _views(pruner: BasePruner) -> Iterator[Group]:
    """Every row of every group that the pruner may prune."""
    for group in pruner.groups():
        yield from group.by_row()


def _unimportance(scores: torch.Tensor) -> torch.Tensor:
    """0 for the most important unit, 1 for the least; 0 for all where they are equal."""
    return (scores.max() - scores) / (scores.max() - scores.min()).clamp_min(1e-8)


def _squares(slice_: Slice) -> torch.Tensor:
    dependency, indices = slice_
    squares: torch.Tensor = dependency.tensor.detach().cpu()[indices].square().flatten(1).sum(1)
    return squares


def _decay(slices: list[Slice], rates: torch.Tensor) -> None:
    """Add ``rate * weight`` to the gradient of every slice of a unit; ``rates`` has shape (units,)."""
    for dependency, indices in slices:
        weight = dependency.tensor
        if weight.grad is None:
            continue
        along = torch.zeros(weight.shape[dependency.axis])
        along[indices] = rates[:, None].expand(indices.shape)
        shape = [-1 if axis == dependency.axis else 1 for axis in range(weight.ndim)]
        weight.grad += along.to(weight).view(shape) * weight
