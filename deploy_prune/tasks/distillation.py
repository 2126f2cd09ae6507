"""How a dense network teaches the pruned one: by its outputs, and by where it looks."""

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Distillation:
    """What a teacher counts in the loss.

    Attributes:
        temperature: both outputs' logits are divided by it, so that small probabilities count.
        teacher_share: of the loss that is the divergence from the teacher's outputs; the rest is that of the labels.
        attention: weight of the distance between attention maps (``tasks.attention_transfer``), beside both.
    """

    temperature: float = 4.0
    teacher_share: float = 0.5
    attention: float = 0.0

    def mixed(self, loss: Tensor, logits: Tensor, taught: Tensor) -> Tensor:
        """Return the labels' loss mixed with the divergence from the teacher's softened outputs, all as means.

        Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network", 2015; the divergence is multiplied by
        the squared temperature, so that its gradients keep their size. Outputs have their classes on axis 1.
        """
        own, wanted = (F.log_softmax(output / self.temperature, 1) for output in (logits, taught))
        divergence = F.kl_div(own, wanted, reduction="none", log_target=True).sum(1).mean()
        return (1 - self.teacher_share) * loss + self.teacher_share * self.temperature**2 * divergence
