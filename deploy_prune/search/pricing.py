"""The measured menu: what a model loses on calibration data when one group alone is pruned."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from deploy_prune.graph.preserve import preserved
from deploy_prune.importance.calibration import Calibration, Outputs
from deploy_prune.pruner.plan import Plan
from deploy_prune.pruner.surgery import apply_plan
from deploy_prune.search.curve import Curve
from deploy_prune.search.loss import MenuWidths, offered_branches
from deploy_prune.search.menu import Menu
from deploy_prune.search.prunable import Prunable
from deploy_prune.search.replay import Replay

POINTS = 4
"""Widths measured per group; the others are interpolated."""


@dataclass(frozen=True)
class Prices:
    """A menu by measurement.

    Attributes:
        menu: the square root of the loss at every width.
        measured: per group the losses that were measured, by width.
        leave_out_error: how far the curves are off at measured widths (the narrowest aside) that they are not told, as
            a share of the losses there; None where no group has as many.
    """

    menu: Menu
    measured: Mapping[str, Mapping[int, float]]
    leave_out_error: float | None


def measured_menu(
    prunable: Prunable,
    widths: MenuWidths,
    calibration: Calibration,
    *,
    points: int = POINTS,
    advance: Callable[[], None] = lambda: None,
) -> Prices:
    """Loss of a width: the square root of what the model loses when this group alone is pruned to it.

    What it loses is the increase of the calibration's loss or, without one, the squared distance of the outputs from
    the dense model's over their squared length, averaged over the output's tensors. Roots, since what several groups
    do to the output adds up as lengths do, not as squares: sums of roots chose better plans (docs/loss.md).

    At most ``points`` widths of a group are measured, on the pruned network in eval mode, and a :class:`Curve` runs
    through them. Width 0 is measured without the whole branch, and its price shared among the branch's groups.

    ``advance`` is called ``points + 1`` times.
    """
    curves = {name: Curve(choices[choices.count(0) :]) for name, choices in widths.items() if choices[-1]}
    branches = offered_branches(prunable, widths)
    model = prunable.build(prunable.start) if prunable.start else prunable.model
    with preserved(model), torch.no_grad():
        model.eval()
        trial = _Trial(prunable, model, calibration)
        whole = trial.losses([dict.fromkeys(groups, 0) for groups in branches])
        advance()
        for _ in range(points):
            asked = {name: width for name, curve in curves.items() if (width := curve.next_width()) is not None}
            found = trial.losses([{name: width} for name, width in asked.items()])
            for (name, width), loss in zip(asked.items(), found, strict=True):
                curves[name] = Curve(curves[name].widths, {**curves[name].measured, width: loss})
            advance()
    without = {g: _root(loss) / len(groups) for groups, loss in zip(branches, whole, strict=True) for g in groups}
    losses = {name: (*_listed(without.get(name)), *map(_root, curve.losses())) for name, curve in curves.items()}
    losses |= dict.fromkeys(widths.keys() - curves.keys(), (0.0,))  # of branches that are gone
    menu = Menu(dict(widths), losses, branches)
    return Prices(menu, {name: curve.measured for name, curve in curves.items()}, _leave_out_error(curves.values()))


class _Trial:
    """A model on calibration data, as the search begins with it and pruned further."""

    def __init__(self, prunable: Prunable, model: nn.Module, calibration: Calibration) -> None:
        self._prunable = prunable
        self._model = model
        self._calibration = calibration
        self._owners = _owners(model)
        self._replay = Replay(model, lambda: self._run(model, next(calibration.samples())))

    def losses(self, asked: Sequence[Mapping[str, int]]) -> list[float]:
        """What the model loses at each of these widths, mean over the batches; other groups stay as they are."""
        if not asked:
            return []
        plans = [self._prunable.plan({**self._prunable.start, **widths}) for widths in asked]
        starts = [self._replay.start(self._changed(self._prunable.plan(widths))) for widths in asked]
        totals = np.zeros(len(plans))
        for batch in self._calibration.batches:
            with self._replay.recording(starts):
                whole = self._run(self._model, batch)
            for k, (plan, start) in enumerate(zip(plans, starts, strict=True)):
                pruned = apply_plan(self._prunable.model, plan)
                self._replay.shorten(pruned, start)
                totals[k] += _difference(whole, self._run(pruned, batch))
        mean: list[float] = (totals / len(self._calibration.batches)).tolist()
        return mean

    def _run(self, model: nn.Module, batch: Any) -> Outputs | torch.Tensor:
        if self._calibration.loss is not None:
            return self._calibration.loss(model, batch).detach()
        return [output.clone() for output in self._calibration.outputs(model, batch)]

    def _changed(self, plan: Plan) -> set[nn.Module]:
        model = self._model
        named = [*plan.branches, *(change.module for change in plan.attributes)]
        parameters = [*(cut.parameter for cut in plan.cuts), *(r.buffer for r in plan.renumberings)]
        owners = (self._owners.get(name, set()) for name in parameters)
        return {model.get_submodule(name) for name in named}.union(*owners)


def _owners(model: nn.Module) -> dict[str, set[nn.Module]]:
    """The modules that hold each parameter or buffer, tied ones by every name."""
    holders: dict[torch.Tensor, set[nn.Module]] = {}
    for module in model.modules():
        for tensor in (*module._parameters.values(), *module._buffers.values()):
            if tensor is not None:
                holders.setdefault(tensor, set()).add(module)
    return {name: holders[tensor] for name, tensor in (*model.named_parameters(), *model.named_buffers())}


def _difference(whole: Outputs | torch.Tensor, pruned: Outputs | torch.Tensor) -> float:
    if isinstance(whole, torch.Tensor) and isinstance(pruned, torch.Tensor):
        return float(pruned - whole)
    shares = [
        float((a - b).square().sum() / a.square().sum().clamp_min(1e-30)) for a, b in zip(whole, pruned, strict=True)
    ]
    return float(np.mean(shares))


def _root(loss: float) -> float:
    return float(np.sqrt(max(loss, 0.0)))


def _listed(loss: float | None) -> tuple[float, ...]:
    return () if loss is None else (loss,)


def _leave_out_error(curves: Collection[Curve]) -> float | None:
    pairs = [pair for curve in curves for pair in curve.leave_one_out()]
    measured = sum(loss for loss, _ in pairs)
    return sum(abs(loss - said) for loss, said in pairs) / measured if measured else None
