"""Win back, without training, some of what pruning lost; whatever does not help is not done."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from deploy_prune.errors import InputError
from deploy_prune.graph.calling import call_model
from deploy_prune.importance.calibration import Calibration, Loss
from deploy_prune.pruner.copying import copy_model
from deploy_prune.pruner.plan import Plan
from deploy_prune.recovery.batch_norm import estimate_statistics
from deploy_prune.recovery.fitting import Fitting
from deploy_prune.recovery.layers import LayerError, find_layers
from deploy_prune.recovery.targets import norm_kind, record_targets

HOLD_OUT = 4
"""Every fourth batch judges and takes no part in fitting; a guess between data to fit on and data to trust."""
MIN_BATCHES = 8
"""Into how many batches one tensor is split at least, where it has as many samples."""

STATISTICS, WEIGHTS, BIASES = "batch norm statistics", "least squares", "biases"
RESTATED = f"{STATISTICS} after {WEIGHTS}"

Tick = Callable[[str, int, int], None]
"""``tick(step, done, total)``: called while a step is under way."""


@dataclass(frozen=True)
class Step:
    """One attempt.

    Attributes:
        name: what was changed.
        before: score of the model that it was to improve on; lower is better.
        after: score with the change.
        kept: whether the change was kept, as it is where the score fell.
        layers: for least squares and biases: every layer's error before and after.
    """

    name: str
    before: float
    after: float
    kept: bool
    layers: tuple[LayerError, ...] = ()


@dataclass(frozen=True, eq=False)
class Recovered:
    """A recovered model.

    Attributes:
        model: a copy of the pruned one with all changes that were kept.
        steps: all attempts in order. What a kept one was built on is undone only where a later one says so by name.
        dense: score of the dense model (0 without a loss: then outputs are compared with its own).
        pruned: score of the pruned model as it was given.
        recovered: score of ``model``.
    """

    model: nn.Module
    steps: tuple[Step, ...]
    dense: float
    pruned: float
    recovered: float


def recover(
    dense: nn.Module,
    pruned: nn.Module,
    plan: Plan,
    batches: torch.Tensor | Sequence[Any],
    loss: Loss | None = None,
    *,
    output_transform: Callable[[Any], Any] | None = None,
    tick: Tick | None = None,
) -> Recovered:
    """Fit a pruned model to its dense original on calibration data, without training.

    Three changes are tried: batch norms get statistics of what they now take; layers that lost inputs get the weights
    that come nearest to the dense outputs in least squares; means that are still off are put right by biases. Each is
    kept only if the score on held-out batches, every fourth, falls. Neither model that is given is changed.

    Example::

        pruned = apply_plan(dense, plan)
        found = recover(dense, pruned, plan, images)
        found.model, found.pruned, found.recovered

    Args:
        dense: the model that ``plan`` was made for.
        pruned: what ``apply_plan`` made of it.
        plan: what was removed.
        batches: real inputs of shape (n, …), or at least two batches as ``loss`` takes them (without a loss: as the
            model does). 64 images are a good number.
        loss: ``loss(model, batch)``, the task's mean loss; its value is the score. Without it the score is the squared
            difference to the dense outputs over their squared size.
        output_transform: picks from the model's output what counts, where there is no loss.
        tick: is told of progress.

    Raises:
        PlanError: the plan does not lead from ``dense`` to ``pruned``.
        InputError: fewer than two batches, or a score of the dense or the pruned model that is no number.
    """
    data = _Data.of(batches, loss, output_transform, tick)
    with torch.no_grad():
        attempts = _Attempts(copy_model(dense).eval(), plan, data, pruned)
        attempts.make()
    attempts.best.train(pruned.training)
    return Recovered(attempts.best, tuple(attempts.steps), attempts.dense_score, attempts.first, attempts.least)


@dataclass(frozen=True, eq=False)
class _Data:
    """Batches, and what a model is worth on the held-out ones."""

    calibration: Calibration
    held_out: tuple[bool, ...]
    tick: Tick | None

    @classmethod
    def of(
        cls,
        batches: torch.Tensor | Sequence[Any],
        loss: Loss | None,
        output_transform: Callable[[Any], Any] | None,
        tick: Tick | None,
    ) -> _Data:
        if isinstance(batches, torch.Tensor) and len(batches):
            most = max(map(len, Calibration.of(batches).batches))
            batches = batches.split(max(1, min(most, len(batches) // MIN_BATCHES)))
        calibration = Calibration.of(batches, loss, output_transform)
        count = len(calibration.batches)
        if count < 2:
            raise InputError("recovery got 1 calibration batch; give at least two, as one of them has to judge")
        step = min(HOLD_OUT, count)
        return cls(calibration, tuple(k % step == step - 1 for k in range(count)), tick)

    def run(self, model: nn.Module, batch: Any) -> None:
        """A forward pass, by way of the loss where there is one: it knows what of the batch the model takes."""
        if self.calibration.loss is not None:
            self.calibration.loss(model, batch)
        else:
            call_model(model, batch)

    def fitted(self) -> list[Any]:
        """The batches that are not held out."""
        return [batch for batch, judges in zip(self.calibration.batches, self.held_out, strict=True) if not judges]

    def score(self, model: nn.Module, dense: nn.Module) -> float:
        """The mean loss on the held-out batches, or the relative squared error of the outputs."""
        judges = [batch for batch, judges in zip(self.calibration.batches, self.held_out, strict=True) if judges]
        if self.calibration.loss is not None:
            return sum(float(self.calibration.loss(model, batch)) for batch in judges) / len(judges)
        off = size = 0.0
        for batch in judges:
            pairs = zip(self.calibration.outputs(dense, batch), self.calibration.outputs(model, batch), strict=True)
            for wanted, got in pairs:
                off += float((wanted - got).square().sum())
                size += float(wanted.square().sum())
        return off / max(size, 1e-30)

    def ticks(self, step: str) -> Callable[[int, int], None]:
        """The progress of one step."""
        return lambda done, total: self.tick(step, done, total) if self.tick is not None else None


class _Attempts:
    """All that is tried, in order; ``best`` is the model with what was kept."""

    def __init__(self, dense: nn.Module, plan: Plan, data: _Data, pruned: nn.Module) -> None:
        self._dense, self._data = dense, data
        self._plain = copy_model(pruned).eval()
        self._layers = find_layers(dense, self._plain, plan)
        self.best, self.steps = self._plain, list[Step]()
        self.dense_score, self.first = data.score(dense, dense), data.score(self._plain, dense)
        self.least = self.first
        for what, score in (("dense", self.dense_score), ("pruned", self.first)):
            if not score < float("inf"):
                raise InputError(
                    f"the {what} model's score on the calibration data is {score}, no number to improve on; "
                    "look whether the inputs are as the model takes them"
                )

    def make(self) -> None:
        """Try everything.

        Weights are fitted on the statistics that pruning left, which belong to the dense outputs; statistics are then
        estimated once more, as least squares makes outputs smaller.
        """
        data, layers = self._data, self._layers.values()
        targets = record_targets(self._dense, layers, data.calibration.batches, data.run)
        fitting = Fitting(targets, data.calibration.batches, data.held_out, data.run)
        has_norms = any(map(norm_kind, self._plain.modules()))
        if has_norms:
            self._restate(STATISTICS, self._plain)
        solved = copy_model(self._plain)
        errors = fitting.fit_weights(solved, layers, data.ticks(WEIGHTS))
        self._judge(WEIGHTS, solved, errors)
        dense_statistics = self.best in (self._plain, solved)
        if has_norms and any(error.kept for error in errors):
            dense_statistics &= not self._restate(RESTATED, solved)
        shifted = copy_model(self.best)
        errors = fitting.fit_biases(shifted, layers, data.ticks(BIASES), norms=dense_statistics)
        self._judge(BIASES, shifted, errors)

    def _restate(self, name: str, model: nn.Module) -> bool:
        """New statistics for a copy of a model; whether that is now the best."""
        restated = copy_model(model)
        estimate_statistics(restated, self._data.fitted(), self._data.run)
        return self._judge(name, restated)

    def _judge(self, name: str, model: nn.Module, layers: tuple[LayerError, ...] = ()) -> bool:
        after = self._data.score(model, self._dense)
        kept = after < self.least
        self.steps.append(Step(name, self.least, after, kept, layers))
        if kept:
            self.best, self.least = model, after
        return kept
