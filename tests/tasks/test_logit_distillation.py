import math

import pytest
import torch
from torch import nn

from deploy_prune.tasks.logit_distillation import TEMPERATURE, LogitDistillation


class Teacher(nn.Module):
    """Returns fixed logits, as an eval-mode classifier of Ultralytics does: probabilities first."""

    def __init__(self, logits):
        super().__init__()
        self.logits = torch.tensor(logits)

    def forward(self, images):
        assert not self.training
        return self.logits.softmax(1), self.logits


def own(logits, batch):
    return logits.sum() * 0 + 0.25, {"loss": torch.tensor(0.25)}


def test_distance_worked_out_by_hand():
    # Two classes. Teacher: odds 3 to 1 at the temperature, so 0.75 and 0.25; network: even.
    teacher = Teacher([[TEMPERATURE * math.log(3), 0.0]]).train()
    logits = torch.zeros(1, 2, requires_grad=True)
    loss, parts = LogitDistillation(own, teacher, 0.5)(logits, {"img": None})
    divergence = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    assert loss.item() == pytest.approx(0.25 + 0.5 * TEMPERATURE**2 * divergence)
    assert parts == {"loss": torch.tensor(0.25)}
    loss.backward()
    # d/dz of T^2 KL at z/T is T (softmax - target)
    assert torch.allclose(logits.grad, 0.5 * TEMPERATURE * torch.tensor([[0.5 - 0.75, 0.5 - 0.25]]))


def test_no_distance_to_itself():
    logits = [[1.0, -2.0, 0.5], [0.0, 3.0, 1.0]]
    loss, _ = LogitDistillation(own, Teacher(logits), 1.0)(torch.tensor(logits), {"img": None})
    assert loss.item() == pytest.approx(0.25, abs=1e-6)
