"""Recovery on the data on which a search judged its widths."""

from __future__ import annotations

from torch import nn

from deploy_prune.importance.calibration import Calibration
from deploy_prune.pruner.plan import Plan
from deploy_prune.recovery.recover import Recovered, recover


def recover_on(dense: nn.Module, pruned: nn.Module, plan: Plan, data: Calibration | None) -> Recovered | None:
    """Recovery on the data of a search; None where there is none, or a single batch that cannot be divided."""
    if data is None:
        return None
    batches = data.batches if len(data.batches) > 1 else list(data.samples())
    if len(batches) < 2:
        return None
    return recover(dense, pruned, plan, batches, data.loss, output_transform=data.output_transform)
