"""A dense classifier as teacher of the pruned one; Ultralytics' own distillation needs a detection head."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

TEMPERATURE = 2.0  # of both softmaxes; Hinton et al., arXiv:1503.02531, found 2.5 to 4 best for small students

Criterion = Callable[[Tensor, Mapping[str, Any]], tuple[Tensor, dict[str, Tensor]]]


class LogitDistillation:
    """A training loss for ``trainer.model.criterion``: the usual one, and the distance to the teacher's logits.

    The distance is the Kullback-Leibler divergence of the softened outputs times the temperature squared, so that
    its gradients are of the size of the others (the paper's section 2).

    Args:
        own: the network's usual loss: logits (n, classes) and batch -> loss and its parts.
        teacher: the dense network; in eval mode it returns probabilities and logits.
        weight: of the distance.
    """

    def __init__(self, own: Criterion, teacher: nn.Module, weight: float) -> None:
        self.own = own
        self.teacher = teacher.eval()
        self.weight = weight

    def __call__(self, logits: Tensor, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of a batch, and the parts that the usual loss names."""
        loss, parts = self.own(logits, batch)
        with torch.no_grad():
            _, wanted = self.teacher(batch["img"])
        soft, target = F.log_softmax(logits / TEMPERATURE, 1), F.log_softmax(wanted / TEMPERATURE, 1)
        distance = TEMPERATURE**2 * F.kl_div(soft, target, log_target=True, reduction="batchmean")
        return loss + self.weight * distance, parts
