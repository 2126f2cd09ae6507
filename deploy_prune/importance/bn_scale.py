"""Network slimming: the scale factors of batch norm (Liu et al., ICCV 2017)."""

from __future__ import annotations

from torch import nn

from deploy_prune.importance.magnitude import GroupMagnitudeImportance
from deploy_prune.importance.reduction import Normalizer


class BNScaleImportance(GroupMagnitudeImportance):
    """``|gamma|`` of the batch norms that a unit runs through; a group without any has no score and stays whole.

    Args:
        group_reduction: over the batch norms of the group; see :class:`GroupImportance`.
        normalizer: see :class:`GroupImportance`.
    """

    def __init__(self, group_reduction: str | None = "mean", normalizer: Normalizer = "mean") -> None:
        super().__init__(1, group_reduction, normalizer, target_types=(nn.modules.batchnorm._BatchNorm,))
