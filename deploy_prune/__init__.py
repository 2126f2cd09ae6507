"""deploy_prune: make a neural network meet a latency budget on real hardware by physically removing channels.

``import deploy_prune as tp`` gives Torch-Pruning users the names that they know. Names are resolved when first used, so
that importing the package needs torch alone.
"""

import importlib
from typing import Any

__version__ = "0.1.0"

_MODULES = ("importance", "pruner", "utils", "errors")
_NAMES = {
    "DependencyGraph": "deploy_prune.pruner.dependency",
    "Group": "deploy_prune.pruner.dependency",
    "Dependency": "deploy_prune.pruner.dependency",
    "Plan": "deploy_prune.pruner.plan",
    "apply_plan": "deploy_prune.pruner.surgery",
    "verify": "deploy_prune.pruner.verify",
    "prune_to_latency": "deploy_prune.pipeline.budget",
}

__all__ = ["__version__", *_MODULES, *_NAMES]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"deploy_prune.{name}")
    if name in _NAMES:
        return getattr(importlib.import_module(_NAMES[name]), name)
    raise AttributeError(f"module 'deploy_prune' has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted(__all__)
