"""An exported file in the place of the network that it was exported from."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from deploy_prune.tasks.predict import predictor


class FileNetwork(nn.Module):
    """Computes what the file computes, one image at a time; ``attributes`` are those that a library looks for on it."""

    def __init__(self, path: Path, attributes: Mapping[str, Any]) -> None:
        super().__init__()
        self._predict = predictor(path)
        for name, value in attributes.items():
            setattr(self, name, value)

    def forward(self, images: Tensor, *_: Any, **__: Any) -> Tensor | list[Tensor]:
        """Return the outputs for images (n, 3, H, W): one tensor, or the list of several."""
        found = self._predict(images.float().cpu())
        if isinstance(found, Tensor):
            return found.to(images.device)
        return [torch.as_tensor(one, device=images.device) for one in found]
