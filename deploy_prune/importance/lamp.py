"""Layer-adaptive magnitude (Lee et al., ICLR 2021), over units in place of single weights."""

from __future__ import annotations

from deploy_prune.errors import InputError
from deploy_prune.importance.magnitude import GroupMagnitudeImportance
from deploy_prune.importance.reduction import Normalizer


class LAMPImportance(GroupMagnitudeImportance):
    """Group magnitude, each unit's over the sum of those in its group that are at least as large.

    The ranking within a group is that of magnitude; between groups (``global_pruning=True``) it adapts to their widths.

    Args:
        p: exponent; the paper has 2.
        group_reduction: see :class:`GroupImportance`.
        normalizer: "lamp".
        bias: see :class:`GroupImportance`.

    Raises:
        InputError: another normalizer.
    """

    def __init__(
        self, p: float = 2, group_reduction: str | None = "mean", normalizer: Normalizer = "lamp", bias: bool = False
    ) -> None:
        if normalizer != "lamp":
            raise InputError(
                f"LAMPImportance normalizes by 'lamp', not {normalizer!r}; use GroupMagnitudeImportance for others"
            )
        super().__init__(p, group_reduction, normalizer, bias)
