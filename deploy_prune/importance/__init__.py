"""One score per unit of a group: the lower, the sooner it goes."""

from deploy_prune.importance.importance import Importance, normalize, reduce
from deploy_prune.importance.magnitude import GroupMagnitudeImportance, MagnitudeImportance
from deploy_prune.importance.random import RandomImportance

__all__ = [
    "GroupMagnitudeImportance",
    "Importance",
    "MagnitudeImportance",
    "RandomImportance",
    "normalize",
    "reduce",
]
