"""Training batches whose order and augmentation follow from seed, epoch and sample alone.

Therefore a run that is killed and repeated sees the same batches, and so does a run with another number of
processes or of reading workers.
"""

import contextlib
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from deploy_prune.errors import InputError


def chance(*numbers: int) -> int:
    """Return a seed of 32 bits that mixes these numbers; other numbers give an unrelated one."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


def seed_all(seed: int) -> None:
    """Seed the generators of Python, NumPy and PyTorch, those of its devices too."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed the generators of Python, NumPy and PyTorch's CPU for the body, and put them back afterwards."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    random.seed(seed)
    np.random.seed(seed)
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


@dataclass(frozen=True)
class _Drawn(Dataset[Any]):
    """The samples of one epoch: item i has its own chance."""

    data: Any
    seed: int
    epoch: int

    def __getitem__(self, index: int) -> Any:
        with seeded(chance(self.seed, self.epoch, index)):
            return self.data[index]

    def __len__(self) -> int:
        return len(self.data)


@dataclass(frozen=True)
class TrainingBatches:
    """The shuffled batches of each epoch. A last batch that would be smaller is left out (batch norms suffer from it).

    Attributes:
        data: map-style data set; its augmentation may use the generators of Python, NumPy and PyTorch.
        batch: samples of one optimizer step, all processes together; a smaller data set makes one batch.
        seed: of order and augmentation.
        collate: makes a batch of a list of samples; None: PyTorch's own, which stacks tensors.
        workers: processes that read.
    """

    data: Any
    batch: int
    seed: int = 0
    collate: Callable[[list[Any]], Any] | None = None
    workers: int = 0

    def __len__(self) -> int:
        return max(len(self.data) // self.batch, 1)

    def of(self, epoch: int, rank: int = 0, world_size: int = 1) -> DataLoader[Any]:
        """Return the batches of an epoch, of each its share for process ``rank``: all shares are of equal size.

        Raises:
            InputError: a batch cannot be shared out evenly, or there are too few samples.
        """
        indices = self.indices(epoch)
        share = len(indices[0]) // world_size
        if self.batch % world_size or not share:
            raise InputError(
                f"a batch of {len(indices[0])} cannot be shared by {world_size} processes; "
                f"set batch to a multiple of {world_size}, at most the number of training samples"
            )
        own = [batch[rank * share : (rank + 1) * share] for batch in indices]
        drawn = _Drawn(self.data, self.seed, epoch)
        return DataLoader(
            drawn,
            batch_sampler=own,
            num_workers=self.workers,
            collate_fn=self.collate,
            generator=torch.Generator().manual_seed(chance(self.seed, epoch)),
        )

    def indices(self, epoch: int) -> Sequence[list[int]]:
        """Return the samples of each batch of an epoch, before they are shared out."""
        order = np.random.default_rng(chance(self.seed, epoch)).permutation(len(self.data)).tolist()
        size = min(self.batch, len(order))
        return [order[start : start + size] for start in range(0, len(self) * size, size)]
