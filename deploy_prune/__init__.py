"""deploy_prune: make a neural network meet a latency budget on real hardware by physically removing channels.

``import deploy_prune as tp`` gives Torch-Pruning users the names that they know. Names are resolved when first used, so
that importing the package needs torch alone.
"""

import importlib
from typing import Any

__version__ = "0.1.0"

_MODULES = {
    "importance": "deploy_prune.importance",
    "pruner": "deploy_prune.pruner",
    "function": "deploy_prune.pruner.function",
    "scheduler": "deploy_prune.pruner.scheduler",
    "utils": "deploy_prune.utils",
    "errors": "deploy_prune.errors",
}
_HOMES = {
    "deploy_prune.pruner.dependency": "DependencyGraph Group Dependency Node",
    "deploy_prune.pruner.pruners": "BasePruner MagnitudePruner MetaPruner",
    "deploy_prune.pruner.regularized": "BNScalePruner GroupNormPruner GrowingRegPruner",
    "deploy_prune.pruner.saved": "save load state_dict load_state_dict save_pruned load_pruned",
    "deploy_prune.pruner.plan": "Plan",
    "deploy_prune.pruner.surgery": "apply_plan",
    "deploy_prune.pruner.verify": "verify",
    "deploy_prune.recovery.recover": "recover Recovered",
    "deploy_prune.pipeline.budget": "prune_to_latency",
    "deploy_prune.pipeline.limits": "LatencyLimit Limits",
    "deploy_prune.pipeline.sweep": "prune_to_latencies",
    "deploy_prune.pruner.function": """
        BasePruningFunc PrunerBox
        prune_conv_out_channels prune_conv_in_channels
        prune_depthwise_conv_out_channels prune_depthwise_conv_in_channels
        prune_batchnorm_out_channels prune_batchnorm_in_channels
        prune_linear_out_channels prune_linear_in_channels
        prune_prelu_out_channels prune_prelu_in_channels
        prune_layernorm_out_channels prune_layernorm_in_channels
        prune_embedding_out_channels prune_embedding_in_channels
        prune_parameter_out_channels prune_parameter_in_channels
        prune_multihead_attention_out_channels prune_multihead_attention_in_channels
        prune_lstm_out_channels prune_lstm_in_channels
        prune_groupnorm_out_channels prune_groupnorm_in_channels
        prune_instancenorm_out_channels prune_instancenorm_in_channels
    """,
}
_NAMES = {name: home for home, names in _HOMES.items() for name in names.split()}

__all__ = ["__version__", *_MODULES, *_NAMES]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(_MODULES[name])
    if name in _NAMES:
        return getattr(importlib.import_module(_NAMES[name]), name)
    raise AttributeError(f"module 'deploy_prune' has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted(__all__)
