"""How long and how hard to train a network that is not Ultralytics': the settings of ``deploy_prune.tasks.fit``."""

import math
from dataclasses import dataclass

from deploy_prune.errors import InputError

OPTIMIZERS = ("AdamW", "SGD")
PRECISIONS = ("32-true", "16-mixed", "bf16-mixed")


@dataclass(frozen=True)
class FitSettings:
    """Settings of one run; learning rate and batch are named as in ``tasks.schedule.Schedule``.

    Attributes:
        optimizer: one of ``OPTIMIZERS``; SGD has Nesterov momentum.
        lr0: learning rate after warm-up; it falls along a cosine to ``lr0 * lrf``.
        lrf: last learning rate as a fraction of ``lr0``.
        momentum: momentum, or the first beta of AdamW.
        weight_decay: on weights of two and more axes (not on biases and norms).
        warmup_epochs: epochs over which the learning rate rises from zero.
        batch: samples per optimizer step, those of all processes together.
        clip_norm: gradients of a larger L2 norm are scaled down to it; 0: never.
        ema_decay: share of the averaged weights, which are the result, that stays at each step; at first less stays,
            so that the average always remembers about the last tenth of all steps. 0: the last weights are the result.
        precision: one of ``PRECISIONS``; mixed ones compute the forward in 16 bits.
        patience: epochs without a better score after which training stops; then the best weights are the result.
            0: never, and the last averaged weights are the result, whatever the score.
        workers: processes that read data, in each training process; the result does not depend on it.
    """

    optimizer: str = "AdamW"
    lr0: float = 2e-3
    lrf: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 0.02
    warmup_epochs: float = 1.0
    batch: int = 32
    clip_norm: float = 5.0
    ema_decay: float = 0.98
    precision: str = "32-true"
    patience: int = 0
    workers: int = 0

    def __post_init__(self) -> None:
        for name, known in (("optimizer", OPTIMIZERS), ("precision", PRECISIONS)):
            if getattr(self, name) not in known:
                raise InputError(f"unknown {name} {getattr(self, name)!r}; choose one of {', '.join(known)}")
        if not 0 <= self.ema_decay < 1:
            raise InputError(f"ema_decay is {self.ema_decay}; expected a share from 0 to below 1, such as 0.98")
        for name, least in (("lr0", 0.0), ("batch", 1), ("patience", 0), ("workers", 0), ("clip_norm", 0.0)):
            if not getattr(self, name) >= least:
                raise InputError(f"{name} is {getattr(self, name)}; expected at least {least}")

    def lr(self, step: int, steps_per_epoch: int, epochs: int) -> float:
        """Return the learning rate of optimizer step 0, 1, ...; a function of the step alone, so nothing is stored."""
        warmup, steps = self.warmup_epochs * steps_per_epoch, epochs * steps_per_epoch
        if step < warmup:
            return self.lr0 * (step + 1) / (warmup + 1)
        done = (step - warmup) / max(steps - warmup, 1)
        return self.lr0 * (self.lrf + (1 - self.lrf) * (1 + math.cos(math.pi * done)) / 2)

    def ema_share(self, steps_averaged: int) -> float:
        """Return the share that the current weights get in an average over ``steps_averaged`` earlier ones.

        An even mean at first, instead, kept the statistics of batch norms from before the network had learned: a
        ResNet-18 of 40 steps had a loss of 0.2 on its training data and got 0.82 right, a smaller one 0.23.
        """
        return 1.0 if not self.ema_decay else max(1 - self.ema_decay, 9 / (steps_averaged + 10))
