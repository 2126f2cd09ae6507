"""The criteria that a recipe names."""

from __future__ import annotations

from collections.abc import Callable

from deploy_prune.errors import InputError
from deploy_prune.importance.fisher import FisherImportance
from deploy_prune.importance.hessian import HessianImportance
from deploy_prune.importance.importance import Importance
from deploy_prune.importance.magnitude import MagnitudeImportance
from deploy_prune.importance.taylor import TaylorImportance

CRITERIA: dict[str, Callable[[], Importance]] = {
    "l1": lambda: MagnitudeImportance(p=1),
    "l2": MagnitudeImportance,
    "taylor": TaylorImportance,
    "fisher": FisherImportance,
    "hessian": HessianImportance,
}
"""By name; the last three need gradients, and so calibration data."""


def criterion_named(name: str) -> Importance:
    """A new criterion of this name; raises ``InputError`` for a name that is not in :data:`CRITERIA`."""
    if name not in CRITERIA:
        raise InputError(f"importance is {name!r}; choose one of {', '.join(CRITERIA)}, or give an Importance")
    return CRITERIA[name]()
