"""Choose what goes, remove it, and prove that the result computes the same."""

from deploy_prune.pruner.dependency import Dependency, DependencyGraph, Group
from deploy_prune.pruner.plan import Plan, make_plan
from deploy_prune.pruner.pruners import BasePruner, MagnitudePruner, linear_scheduler
from deploy_prune.pruner.surgery import apply_plan
from deploy_prune.pruner.verify import Verification, verify

__all__ = [
    "BasePruner",
    "Dependency",
    "DependencyGraph",
    "Group",
    "MagnitudePruner",
    "Plan",
    "Verification",
    "apply_plan",
    "linear_scheduler",
    "make_plan",
    "verify",
]
