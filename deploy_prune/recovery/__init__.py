"""Recovery without training: what a pruned model's weights can win back from calibration data in closed form."""

from deploy_prune.recovery.layers import LayerError
from deploy_prune.recovery.recover import Recovered, Step, recover

__all__ = ["LayerError", "Recovered", "Step", "recover"]
