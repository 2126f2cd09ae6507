"""One training by Ultralytics that may be killed at any moment and goes on where it was."""

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from torch import nn

from deploy_prune.errors import InputError
from deploy_prune.tasks import ultralytics_api as api
from deploy_prune.tasks.epoch_bar import EpochBar
from deploy_prune.tasks.kept_module import student_of
from deploy_prune.tasks.logit_distillation import LogitDistillation
from deploy_prune.tasks.resume import KeepsToItself, TrainingState
from deploy_prune.tasks.schedule import Schedule
from deploy_prune.tasks.task import Regularizer
from deploy_prune.tasks.ultralytics_kinds import find_kind
from deploy_prune.tasks.ultralytics_trainers import pruned_trainer

VALIDATE_EVERY = 5  # epochs between two looks at the validation data, for the person watching


class Regularized:
    """Mixin for an Ultralytics trainer that adds to the gradients before each step, if there is what to add."""

    regularize: Callable[[float], None] | None = None
    epoch: int
    epochs: int

    def optimizer_step(self) -> None:
        """Regularize, then step as the class behind does, which is without gradient scaler: AMP is off."""
        if self.regularize is not None:
            self.regularize((self.epoch + 1) / self.epochs)
        super().optimizer_step()  # type: ignore[misc]


@dataclass(frozen=True)
class TrainingRun:
    """What a training is made of, the network apart.

    Attributes:
        task: one of ``KINDS``.
        arguments: Ultralytics' own, all of them.
        schedule: what they were made of in part; its average of weights is set here.
        state: what the run goes on from, and where its result is kept.
        bar: shows the epochs.
        teacher: a dense classifier whose outputs the network is drawn to; for other tasks the arguments name it.
        regularizer: adds to the gradients before each step.
    """

    task: str
    arguments: Mapping[str, Any]
    schedule: Schedule
    state: TrainingState
    bar: EpochBar
    teacher: nn.Module | None = None
    regularizer: Regularizer | None = None

    def train(self, model: nn.Module) -> None:
        """Train ``model`` in place; the result is ``state.result``.

        Raises:
            InputError: Ultralytics refuses the arguments, or the loss is no longer a number.
        """
        trainer = self._start(model)
        with api.quiet():
            try:
                trainer.train()
            except RuntimeError as error:
                if "NaN" not in str(error):
                    raise
                lost = f"the loss is no longer a number after epoch {trainer.epoch + 1}"
                raise InputError(f"{lost}; train with a smaller lr0 than {self.schedule.lr0}") from error

    def _start(self, model: nn.Module) -> Any:
        run = type("_Run", (KeepsToItself, Regularized, pruned_trainer(self.task)), {})
        with api.quiet():
            try:
                trainer = run(overrides=dict(self.arguments))
            except (TypeError, ValueError) as error:
                raise InputError(f"training cannot begin: {api.first_line(error)}") from error
        trainer.model = trainer.get_model(weights=model)
        trainer.add_callback("on_pretrain_routine_end", self._begin)
        trainer.add_callback("on_train_epoch_start", self.state.begin_epoch)
        trainer.add_callback("on_train_epoch_end", self._choose_validation)
        trainer.add_callback("on_fit_epoch_end", self._end_epoch)
        return trainer

    def _begin(self, trainer: Any) -> None:
        trainer.ema.decay = self.schedule.ema_decay
        self.state.restore(trainer)
        if self.teacher is not None:
            own = trainer.model.init_criterion()
            trainer.model.criterion = LogitDistillation(own, deepcopy(self.teacher), self.schedule.distill_logits)
        if self.regularizer is not None:
            trainer.regularize = self.regularizer.attach(student_of(trainer.model))
        self.bar.show(trainer.start_epoch)

    def _choose_validation(self, trainer: Any) -> None:
        trainer.args.val = (trainer.epoch + 1) % VALIDATE_EVERY == 0

    def _end_epoch(self, trainer: Any) -> None:
        self.state.write(trainer)
        kind = find_kind(self.task)
        self.bar.show(trainer.epoch + 1, f"{kind.score_name} {trainer.metrics[kind.score_key]:.3f}")
