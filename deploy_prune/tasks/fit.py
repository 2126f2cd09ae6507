"""The training loop of every task that has no trainer of its own, on Lightning Fabric.

Fabric brings devices, 16-bit precision and several processes: started by ``torchrun``, each process computes its
share of every batch. With batch norms the result then depends on the number of processes, because each one
normalises its own share.
"""

import importlib.util
import math
import os
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from rich.progress import Progress
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from deploy_prune.errors import InputError, MissingDependencyError
from deploy_prune.tasks.batches import TrainingBatches, chance, seed_all
from deploy_prune.tasks.epoch_bar import EpochBar
from deploy_prune.tasks.fit_settings import FitSettings
from deploy_prune.tasks.fit_state import STATE_FILE, FitState, read_state
from deploy_prune.tasks.resume import run_key
from deploy_prune.tasks.task import Regularizer


@dataclass(frozen=True)
class Fit:
    """What is trained, on what, and how.

    Attributes:
        batches: the training data.
        loss: ``loss(model, batch)``, the mean over the batch's samples. It has to call ``model`` itself (not a part
            of it), which is how several processes exchange gradients.
        evaluate: the score of a module in eval mode, larger is better, on the device of the module's parameters.
        settings: how hard.
        epochs: how long: passes over the data.
        title: shown beside the progress bar, and the score's name after it.
        score_name: what ``evaluate`` returns.
        evaluate_every: epochs between two scores; the last epoch has one too.
        about: what else the result depends on (data, augmentation, teacher): a change of it starts the run anew.
        regularizer: adds to the gradients before each step; it is to be in ``about``.
    """

    batches: TrainingBatches
    loss: Callable[[nn.Module, Any], Tensor]
    evaluate: Callable[[nn.Module], float]
    settings: FitSettings
    epochs: int
    title: str = "train"
    score_name: str = "score"
    evaluate_every: int = 1
    about: Any = None
    regularizer: Regularizer | None = None

    def run(self, model: nn.Module, out_dir: Path, progress: Progress | None = None) -> nn.Module:
        """Return a trained copy of ``model`` on the CPU in eval mode; ``out_dir`` keeps the state and the logs.

        ``out_dir`` gets ``training_state.pt``, ``metrics.csv`` and, where the package tensorboard is installed, its
        event files. The same call with the same folder goes on after the last finished epoch.

        Raises:
            InputError: the loss is no longer a number; the last good state stays in ``out_dir``.
            MissingDependencyError: lightning-fabric is not installed.
        """
        settings = {name: value for name, value in asdict(self.settings).items() if name != "workers"}
        key = run_key(settings | {"epochs": self.epochs, "seed": self.batches.seed, "about": self.about}, model)
        out_dir.mkdir(parents=True, exist_ok=True)
        state = read_state(out_dir, key)
        if state.epochs_done < self.epochs and not state.stopped:
            state = _Training(self, model, out_dir, state).run(EpochBar(progress, self.title, self.epochs))
        trained = deepcopy(model).cpu().eval()
        if state.result:
            trained.load_state_dict(state.result)
        return trained


class _Training:
    """One process's part in a run, from the state that it starts with."""

    def __init__(self, fit: Fit, model: nn.Module, out_dir: Path, state: FitState) -> None:
        self.fit, self.out_dir, self.state = fit, out_dir, state
        self.fabric = _open_fabric(fit.settings, out_dir, state.epochs_done)
        self.module = deepcopy(model).train()
        if state.model:
            self.module.load_state_dict(state.model)
        optimizer = _make_optimizer(self.module, fit.settings)
        self.model, self.optimizer = self.fabric.setup(self.module, optimizer)
        self.regularize = fit.regularizer.attach(self.module) if fit.regularizer else None
        self.average = AveragedModel(self.module, avg_fn=self._mix, use_buffers=True).eval()
        if state.model:
            self.average.module.load_state_dict(state.averaged)
            self.average.n_averaged.fill_(state.averaged_steps)
            self.optimizer.load_state_dict(state.optimizer)
            self.fabric.strategy.precision.load_state_dict(state.precision)

    def run(self, bar: EpochBar) -> FitState:
        """Train to the end and return the last state."""
        bar.show(self.state.epochs_done)
        while self.state.epochs_done < self.fit.epochs and not self.state.stopped:
            row = self._run_epoch(self.state.epochs_done)
            self._judge(row)
            self._keep(row)
            score = f"loss {row['loss']:.3f}"
            if self.state.scores:
                score = f"{self.fit.score_name} {self.state.scores[-1]:.3f}"
            bar.show(self.state.epochs_done, score)
        for logger in self.fabric.loggers:
            logger.finalize("success")
        return self.state

    def _run_epoch(self, epoch: int) -> dict[str, float]:
        """Make every optimizer step of an epoch and return its row of the history."""
        fit, started_s, total = self.fit, time.monotonic(), 0.0
        seed_all(chance(fit.batches.seed, epoch, self.fabric.global_rank))  # of dropout
        self.module.train()
        loader = fit.batches.of(epoch, self.fabric.global_rank, self.fabric.world_size)
        for index, batch in enumerate(loader):
            lr = fit.settings.lr(epoch * len(loader) + index, len(loader), fit.epochs)
            for group in self.optimizer.param_groups:
                group["lr"] = lr
            loss = fit.loss(self.model, self.fabric.to_device(batch))
            value = float(loss.detach())
            if not math.isfinite(value):
                raise self._lost(epoch)
            total += value
            self.fabric.backward(loss)
            if self.regularize:
                self.regularize((epoch + 1) / fit.epochs)
            if fit.settings.clip_norm:
                self.fabric.clip_gradients(
                    self.model, self.optimizer, max_norm=fit.settings.clip_norm, error_if_nonfinite=False
                )
            self.optimizer.step()
            self.optimizer.zero_grad()
            self.average.update_parameters(self.module)
        if not all(bool(torch.isfinite(parameter).all()) for parameter in self.module.parameters()):
            raise self._lost(epoch)
        mean = float(self.fabric.all_reduce(self.fabric.to_device(torch.tensor(total / len(loader))), reduce_op="mean"))
        return {"epoch": epoch + 1, "loss": mean, "lr": lr, "duration_s": time.monotonic() - started_s}

    def _judge(self, row: dict[str, float]) -> None:
        """Add the score to the row where one is due; the first process takes it for all."""
        if row["epoch"] % self.fit.evaluate_every and row["epoch"] < self.fit.epochs:
            return
        score = 0.0
        if self.fabric.is_global_zero:
            score = self.fit.evaluate(self.average.module)
        row["score"] = self.fabric.broadcast(score)

    def _keep(self, row: dict[str, float]) -> None:
        """Bring the state up to date with an epoch, and write it."""
        state, patience = self.state, self.fit.settings.patience
        earlier = state.scores
        state.history.append(row)
        state.epochs_done += 1
        state.model, state.averaged = _on_cpu(self.module), _on_cpu(self.average.module)
        state.averaged_steps = int(self.average.n_averaged)
        state.optimizer = self.optimizer.state_dict()
        state.precision = self.fabric.strategy.precision.state_dict()
        if patience and "score" in row:
            if all(row["score"] > score for score in earlier):
                state.best = state.averaged
            best_epoch = max((one for one in state.history if "score" in one), key=lambda one: one["score"])["epoch"]
            state.stopped = state.epochs_done - best_epoch >= patience
        if self.fabric.is_global_zero:
            state.write(self.out_dir)
        self.fabric.barrier()
        self.fabric.log_dict({name: value for name, value in row.items() if name != "epoch"}, step=state.epochs_done)

    def _lost(self, epoch: int) -> InputError:
        kept = "no state was written yet"
        if self.state.epochs_done:
            kept = f"the last good state, after epoch {self.state.epochs_done}, is {self.out_dir / STATE_FILE}"
        lr0 = self.fit.settings.lr0
        return InputError(f"the loss is no longer a number in epoch {epoch + 1}; {kept}; train with lr0 below {lr0:g}")

    def _mix(self, averaged: Tensor, current: Tensor, steps: Tensor | int) -> Tensor:
        if not averaged.is_floating_point():
            return current
        return torch.lerp(averaged, current, self.fit.settings.ema_share(int(steps)))


def _open_fabric(settings: FitSettings, out_dir: Path, epochs_done: int) -> Any:
    """Start Fabric on one device, or on this process's own where ``torchrun`` started several."""
    try:
        from lightning_fabric import Fabric
        from lightning_fabric.loggers import TensorBoardLogger
    except ImportError as error:
        raise MissingDependencyError(
            "training needs lightning-fabric, which is not installed; run: pip install 'deploy_prune[vision]'"
        ) from error
    loggers: list[Any] = []
    if importlib.util.find_spec("tensorboard"):
        # After a kill the events of the epoch that is repeated are taken back.
        loggers.append(TensorBoardLogger(out_dir, name="tensorboard", version="", purge_step=epochs_done + 1))
    here, everywhere = (int(os.environ.get(name, 1)) for name in ("LOCAL_WORLD_SIZE", "WORLD_SIZE"))
    precision: Any = settings.precision
    accelerator = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        fabric = Fabric(
            accelerator=accelerator,
            strategy="ddp" if everywhere > 1 else "auto",
            devices=here,
            num_nodes=everywhere // here,
            precision=precision,
            loggers=loggers,
        )
    except ValueError as error:
        raise InputError(f"precision {settings.precision} cannot be used on this {accelerator}: {error}") from error
    fabric.launch()
    return fabric


def _make_optimizer(module: nn.Module, settings: FitSettings) -> torch.optim.Optimizer:
    """Weight decay is for weights; biases and norms have one axis."""
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if settings.optimizer == "SGD":
        return torch.optim.SGD(groups, lr=settings.lr0, momentum=settings.momentum, nesterov=settings.momentum > 0)
    return torch.optim.AdamW(groups, lr=settings.lr0, betas=(settings.momentum, 0.999))


def _on_cpu(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().clone() for name, tensor in module.state_dict().items()}
