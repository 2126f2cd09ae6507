"""torch.export's programme: a ``.pt2`` file that PyTorch runs without the network's Python code."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from deploy_prune.errors import ExportError


def write_pt2(model: nn.Module, example_inputs: Tensor, target: Path) -> Path:
    """Write ``model`` in eval mode for the input shape of ``example_inputs`` (n, ...); its mode is restored.

    Raises:
        ExportError: torch.export cannot trace the module.
    """
    was_training = model.training
    model.eval()
    temporary = target.with_name(f".{os.getpid()}.{target.name}")
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model(example_inputs)  # some networks keep what depends on the input's size at their first call
            torch.export.save(torch.export.export(model, (example_inputs,)), temporary)
    except Exception as error:
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise ExportError(f"torch.export cannot take {type(model).__name__}: {reason}") from error
    finally:
        model.train(was_training)
    return temporary.replace(target)


def open_pt2(path: Path) -> Callable[[NDArray[np.float32]], list[NDArray[np.float32]]]:
    """The function that a programme computes on the CPU; all tensors of its output, depth first.

    Raises:
        ExportError: PyTorch cannot read the file.
    """
    try:
        module = torch.export.load(path).module()
    except Exception as error:
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise ExportError(f"{path} is not a model that torch.export can open: {reason}") from error

    def run(data: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        with torch.no_grad():
            return [tensor.numpy() for tensor in tree_leaves(module(torch.from_numpy(data)))]

    return run
