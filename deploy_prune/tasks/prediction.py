"""What a network says of images, whether it is a module or an exported file."""

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from deploy_prune.export.session import open_session, run_file
from deploy_prune.tasks.purpose import Predict


def predictor_of(model: nn.Module | Path) -> Predict:
    """Return what computes the outputs: a module, in eval mode and put back to its own, or a file in ONNX Runtime."""
    if isinstance(model, Path):
        session = open_session(model)

        def run(images: Tensor) -> tuple[Tensor, ...]:
            rows = zip(*run_file(model, images, session), strict=True)
            return tuple(torch.cat([torch.from_numpy(one) for one in row]) for row in rows)

        return run
    module = model

    def compute(images: Tensor) -> tuple[Tensor, ...]:
        was_training, device = module.training, next(module.parameters()).device
        module.eval()
        try:
            with torch.no_grad():
                return tuple(tensor.cpu() for tensor in tree_leaves(module(images.to(device))))
        finally:
            module.train(was_training)

    return compute
