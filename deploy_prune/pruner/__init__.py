"""Choose what goes, remove it, and prove that the result computes the same."""

import deploy_prune.importance as importance
import deploy_prune.pruner.function as function
from deploy_prune.pruner.dependency import Dependency, DependencyGraph, Group, Node
from deploy_prune.pruner.function import *  # noqa: F403
from deploy_prune.pruner.function import __all__ as _functions
from deploy_prune.pruner.plan import Plan, make_plan
from deploy_prune.pruner.pruners import BasePruner, MagnitudePruner, MetaPruner
from deploy_prune.pruner.ranking import Ranking, rank
from deploy_prune.pruner.regularized import BNScalePruner, GroupNormPruner, GrowingRegPruner
from deploy_prune.pruner.scheduler import linear_scheduler
from deploy_prune.pruner.surgery import apply_plan
from deploy_prune.pruner.verify import Verification, verify

__all__ = [
    *_functions,
    "BNScalePruner",
    "BasePruner",
    "Dependency",
    "DependencyGraph",
    "Group",
    "GroupNormPruner",
    "GrowingRegPruner",
    "MagnitudePruner",
    "MetaPruner",
    "Node",
    "Plan",
    "Ranking",
    "Verification",
    "apply_plan",
    "function",
    "importance",
    "linear_scheduler",
    "make_plan",
    "rank",
    "verify",
]
