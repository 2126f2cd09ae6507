"""What one epoch of ``deploy_prune.tasks.fit`` hands to the next, and the file that holds it.

All that is random in an epoch follows from seed and epoch (``tasks.batches``), so no generator is stored, and a
run that is killed within an epoch repeats it from its start.
"""

import csv
import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

STATE_FILE, LOG_FILE = "training_state.pt", "metrics.csv"
Weights = dict[str, Tensor]


@dataclass
class FitState:
    """The state after ``epochs_done`` epochs.

    Attributes:
        key: identifies the run: its settings, data and first weights.
        epochs_done: finished epochs.
        model: weights and buffers.
        averaged: the average of them, which is the result.
        averaged_steps: how many optimizer steps are in the average.
        optimizer: its state.
        precision: the state of the gradient scaler of 16 bits, if there is one.
        best: the averaged weights of the best score; only where training may stop early.
        stopped: whether it stopped early.
        history: a row per epoch: epoch, loss, lr, seconds, and the score where it was taken.
    """

    key: str
    epochs_done: int = 0
    model: Weights = field(default_factory=dict)
    averaged: Weights = field(default_factory=dict)
    averaged_steps: int = 0
    optimizer: dict[str, Any] = field(default_factory=dict)
    precision: dict[str, Any] = field(default_factory=dict)
    best: Weights | None = None
    stopped: bool = False
    history: list[dict[str, float]] = field(default_factory=list)

    @property
    def scores(self) -> list[float]:
        """The scores of the epochs in which one was taken."""
        return [row["score"] for row in self.history if "score" in row]

    @property
    def result(self) -> Weights:
        """The weights that the run ends with."""
        return self.averaged if self.best is None else self.best

    def write(self, folder: Path) -> None:
        """Write the state, and its history as a table, each under a temporary name first."""
        buffer = io.BytesIO()
        torch.save({name: getattr(self, name) for name in self.__dataclass_fields__}, buffer)
        _replace(folder / STATE_FILE, buffer.getvalue())
        text = io.StringIO()
        table = csv.DictWriter(text, ["epoch", "loss", "lr", "score", "duration_s"], lineterminator="\n")
        table.writeheader()
        table.writerows(self.history)
        _replace(folder / LOG_FILE, text.getvalue().encode())


def read_state(folder: Path, key: str) -> FitState:
    """Return the state of the run ``key`` in ``folder``, or that of a run that has not begun."""
    path = folder / STATE_FILE
    if path.exists():
        state = FitState(**torch.load(path, map_location="cpu", weights_only=True))
        if state.key == key:
            return state
    return FitState(key)


def _replace(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_bytes(content)
    temporary.replace(path)
