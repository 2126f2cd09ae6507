"""A network as a function of its inputs, whether it is a module or an exported file."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from deploy_prune.errors import InputError
from deploy_prune.export.running import READABLE, open_file, run_file

Predict = Callable[[Tensor], Any]
"""Inputs (n, ...) to the output (n, ...), on the CPU; where there are several, to a tuple of them."""


def predictor(model: nn.Module | Path) -> Predict:
    """Return the function that ``model`` computes: a module in eval mode on its device, a file on the CPU.

    Raises:
        InputError: there is no such file.
    """
    if isinstance(model, Path):
        if not model.is_file():
            raise InputError(f"no such file: {model}; expected an exported {', '.join(READABLE)}")
        opened = open_file(model)
        return lambda inputs: _only(
            torch.cat([torch.from_numpy(one) for one in column])
            for column in zip(*run_file(model, inputs, opened), strict=True)
        )
    device = next(model.parameters()).device

    def run(inputs: Tensor) -> Any:
        was_training = model.training
        model.eval()
        try:
            with torch.no_grad():
                output = model(inputs.to(device))
        finally:
            model.train(was_training)
        return _only(tensor.cpu() for tensor in tree_leaves(output))

    return run


def _only(outputs: Iterable[Tensor]) -> Tensor | tuple[Tensor, ...]:
    """The one output, or all."""
    found = tuple(outputs)
    return found[0] if len(found) == 1 else found
