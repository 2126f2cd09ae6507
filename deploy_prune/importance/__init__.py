"""One score per unit of a group: the lower, the sooner it goes. See docs/importance.md for which to use."""

from deploy_prune.importance.activation import ActivationImportance
from deploy_prune.importance.bn_scale import BNScaleImportance
from deploy_prune.importance.fisher import FisherImportance
from deploy_prune.importance.fpgm import FPGMImportance
from deploy_prune.importance.hessian import GroupHessianImportance, HessianImportance, OBDCImportance
from deploy_prune.importance.importance import GroupImportance, Importance
from deploy_prune.importance.lamp import LAMPImportance
from deploy_prune.importance.magnitude import GroupMagnitudeImportance, MagnitudeImportance
from deploy_prune.importance.random import RandomImportance
from deploy_prune.importance.reduction import normalize, reduce
from deploy_prune.importance.taylor import GroupTaylorImportance, TaylorImportance
from deploy_prune.importance.wanda import WandaImportance

__all__ = [
    "ActivationImportance",
    "BNScaleImportance",
    "FPGMImportance",
    "FisherImportance",
    "GroupHessianImportance",
    "GroupImportance",
    "GroupMagnitudeImportance",
    "GroupTaylorImportance",
    "HessianImportance",
    "Importance",
    "LAMPImportance",
    "MagnitudeImportance",
    "OBDCImportance",
    "RandomImportance",
    "TaylorImportance",
    "WandaImportance",
    "normalize",
    "reduce",
]
