"""Exact continuation of a killed training run.

Two things make a run that was killed end with the weights of one that was not:

* Everything random in an epoch (order of images, augmentation, dropout) follows from ``(seed, epoch)`` alone:
  all generators are seeded at its start, so none of them need to be stored.
* Everything that one epoch hands to the next (weights, averaged weights, optimizer) is written after each
  epoch, in full precision. (Ultralytics' own ``last.pt`` holds FP16 weights and no generator.)

A *trainer* here is one of Ultralytics; only its public attributes are used, so this file does not import it.
"""

import contextlib
import hashlib
import io
import json
import random
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from deploy_prune.tasks.architecture import architecture, check_same_architecture


class TrainingState:
    """The file that a run continues from.

    Args:
        path: where the state is kept; written under a temporary name and renamed.
        key: identifies the run (its settings, data and first weights); the state of another run is not used.
        seed: of the run.
    """

    def __init__(self, path: Path, key: str, seed: int) -> None:
        self.path = path
        self.key = key
        self.seed = seed

    def read(self) -> dict[str, Any] | None:
        """Return the stored state, or None if there is none of this run."""
        if not self.path.exists():
            return None
        state = torch.load(self.path, map_location="cpu", weights_only=True)
        return state if state["key"] == self.key else None

    def is_done(self, epochs: int) -> bool:
        """Return whether all ``epochs`` of this run are stored."""
        state = self.read()
        return state is not None and state["epochs_done"] >= epochs

    def result(self, model: nn.Module) -> nn.Module:
        """Return a copy of ``model``, in eval mode, with the averaged weights of the stored run."""
        state = self.read()
        if state is None:
            raise FileNotFoundError(self.path)
        weights = {name.removeprefix("student_model."): tensor for name, tensor in state["ema"].items()}
        weights = {name: tensor for name, tensor in weights.items() if not name.startswith("projector.")}
        check_same_architecture(architecture(model), {name: tuple(t.shape) for name, t in weights.items()})
        trained = deepcopy(model).eval()
        trained.load_state_dict(weights)
        return trained

    def write(self, trainer: Any) -> None:
        """Store what the next epoch needs. To be called at the end of each epoch."""
        state = {
            "key": self.key,
            "epochs_done": trainer.epoch + 1,
            "model": _own_weights(trainer.model),
            "ema": trainer.ema.ema.state_dict(),
            "ema_updates": trainer.ema.updates,
            "optimizer": trainer.optimizer.state_dict(),
            "scaler": trainer.scaler.state_dict(),
        }
        temporary = self.path.with_name(f"{self.path.name}.tmp")
        torch.save(state, temporary)
        temporary.replace(self.path)

    def restore(self, trainer: Any) -> None:
        """Put the stored state, if any, into a trainer that is set up and has not begun its first epoch."""
        state = self.read()
        if state is None:
            return
        trainer.model.load_state_dict(state["model"], strict=False)  # a frozen teacher is not stored
        trainer.ema.ema.load_state_dict(state["ema"])
        trainer.ema.updates = state["ema_updates"]
        trainer.optimizer.load_state_dict(state["optimizer"])
        trainer.scaler.load_state_dict(state["scaler"])
        trainer.start_epoch = state["epochs_done"]
        trainer.scheduler.last_epoch = trainer.start_epoch - 1
        _replay_criterion(trainer.model, trainer.start_epoch)

    def begin_epoch(self, trainer: Any) -> None:
        """Make the coming epoch a function of (seed, epoch). To be called at the start of each epoch."""
        seed = int(np.random.SeedSequence([self.seed, trainer.epoch]).generate_state(1)[0])
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        trainer.train_loader.reset()  # its iterator has drawn from the generator for epochs ahead
        trainer.train_loader.generator.manual_seed(seed)


def run_key(settings: Mapping[str, Any], *models: nn.Module | None) -> str:
    """Return a checksum of a run's settings and of the weights that it starts from."""
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode())
    for model in models:
        for name, tensor in model.state_dict().items() if model is not None else ():
            digest.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
        digest.update(b"|")
    return digest.hexdigest()


def _own_weights(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in model.state_dict().items() if not name.startswith("teacher_model.")}


def _replay_criterion(model: Any, epochs: int) -> None:
    """Bring a loss whose terms change from epoch to epoch (YOLO26's two heads) to where it was."""
    model.criterion = model.init_criterion()
    if hasattr(model.criterion, "update"):
        for _ in range(epochs):
            model.criterion.update()


class KeepsToItself:
    """Mixin for runs whose state and result :class:`TrainingState` keeps, in full precision."""

    def build_dataset(self, *args: Any, **kwargs: Any) -> Any:
        """Build the data set without the bar of filling the cache, which obeys no setting."""
        with contextlib.redirect_stdout(io.StringIO()):
            return super().build_dataset(*args, **kwargs)  # type: ignore[misc]

    def save_model(self) -> bool:
        """Write no FP16 checkpoint."""
        return False

    def final_eval(self) -> None:
        """Do not validate such a checkpoint."""
