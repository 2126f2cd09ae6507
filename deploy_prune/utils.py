"""Names that Torch-Pruning users know under ``tp.utils``."""

from deploy_prune.count import count_ops_and_params

__all__ = ["count_ops_and_params"]
