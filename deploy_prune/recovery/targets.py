"""What the dense model's layers put out on calibration data, at a sample of positions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import nn

from deploy_prune.recovery.layers import Layer, output_rows

Run = Callable[[nn.Module, Any], object]
"""``run(model, batch)``: a forward pass of the model on a batch."""

ROWS_PER_FEATURE = 8  # least squares with eight rows per unknown; a guess, bounded by the two numbers below
MIN_ROWS, MAX_ROWS = 2048, 12288


@dataclass(frozen=True, eq=False)
class Sample:
    """Outputs of one call of a layer: ``values`` (n, kept channels) at ``rows`` (n,) of all ``total`` rows."""

    rows: torch.Tensor
    values: torch.Tensor
    total: int


@dataclass(eq=False)
class Targets:
    """The dense outputs.

    Attributes:
        samples: by layer name, in the order in which layers run; per batch, per call within the batch.
        norms: by layer name, the batch norm that takes the layer's output as it is.
    """

    samples: dict[str, list[list[Sample]]] = field(default_factory=dict)
    norms: dict[str, str] = field(default_factory=dict)


@torch.no_grad()
def record_targets(dense: nn.Module, layers: Iterable[Layer], batches: Sequence[Any], run: Run) -> Targets:
    """Run the dense model once over all batches; it has to be in eval mode.

    The rows kept of a layer are bounded by its size (see :data:`ROWS_PER_FEATURE`), not by the number of batches.
    """
    recorder = _Recorder(dense, {layer.name: layer for layer in layers}, len(batches))
    try:
        for batch in batches:
            recorder.begin_batch()
            run(dense, batch)
    finally:
        recorder.remove()
    return recorder.targets()


def norm_kind(module: nn.Module) -> bool:
    """Whether it is a batch norm with running statistics, which can be re-estimated and shifted."""
    return isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is not None


class _Recorder:
    """Hooks on the dense model's layers and batch norms."""

    def __init__(self, dense: nn.Module, layers: dict[str, Layer], batches: int) -> None:
        self._layers, self._batches, self._number = layers, batches, -1
        self._samples: dict[str, list[list[Sample]]] = {}
        self._calls: Counter[str] = Counter()
        self._followed: Counter[tuple[str, str]] = Counter()  # (layer, batch norm right behind it)
        self._latest: tuple[str, torch.Tensor] | None = None
        self._draw = torch.Generator().manual_seed(0)
        self._hooks = []
        for name, module in dense.named_modules():
            if name in layers:
                self._hooks.append(module.register_forward_hook(partial(self._record, name)))
            elif norm_kind(module):
                self._hooks.append(module.register_forward_pre_hook(partial(self._follow, name)))

    def begin_batch(self) -> None:
        self._number += 1

    def remove(self) -> None:
        self._latest = None
        for hook in self._hooks:
            hook.remove()

    def targets(self) -> Targets:
        norms = {
            layer: norm
            for (layer, norm), times in self._followed.items()
            if times == self._calls[layer] == self._calls[norm]
        }
        return Targets(self._samples, norms)

    def _record(self, name: str, module: Any, _: Any, output: torch.Tensor) -> None:
        self._calls[name] += 1
        self._latest = (name, output)
        rows = output_rows(module, output)
        features = module.weight[0].numel()
        wanted = min(max(ROWS_PER_FEATURE * features, MIN_ROWS), MAX_ROWS)
        count = min(len(rows), -(-wanted // self._batches))
        everything = count == len(rows)
        chosen = torch.arange(count) if everything else torch.randint(len(rows), (count,), generator=self._draw)
        chosen = chosen.to(rows.device)
        values, kept = rows[chosen], self._layers[name].kept
        if kept is not None:
            values = values[:, torch.tensor(kept, device=values.device)]
        per_batch = self._samples.setdefault(name, [[] for _ in range(self._batches)])
        per_batch[self._number].append(Sample(chosen, values, len(rows)))

    def _follow(self, name: str, _: nn.Module, args: tuple[Any, ...]) -> None:
        self._calls[name] += 1
        if self._latest is not None and args and args[0] is self._latest[1]:
            self._followed[self._latest[0], name] += 1
