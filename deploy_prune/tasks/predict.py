"""A network as a function of its inputs, whether it is a module or an exported file."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from deploy_prune.errors import InputError
from deploy_prune.export.session import open_session, run_file

Predict = Callable[[Tensor], Tensor]
"""Inputs (n, ...) to the first output (n, ...), both on the CPU."""


def predictor(model: nn.Module | Path) -> Predict:
    """Return the function that ``model`` computes: a module in eval mode on its device, a file in ONNX Runtime.

    Raises:
        InputError: there is no such file.
    """
    if isinstance(model, Path):
        if not model.is_file():
            raise InputError(f"no such file: {model}; expected an exported .onnx")
        session = open_session(model)
        return lambda inputs: torch.cat([torch.from_numpy(out[0]) for out in run_file(model, inputs, session)])
    device = next(model.parameters()).device

    def run(inputs: Tensor) -> Tensor:
        was_training = model.training
        model.eval()
        try:
            with torch.no_grad():
                output = model(inputs.to(device))
        finally:
            model.train(was_training)
        first = output if isinstance(output, Tensor) else output[0]
        return first.cpu()

    return run
