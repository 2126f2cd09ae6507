"""The embedded real data: handwritten digits over photographs, in the formats users have."""

from deploy_prune.datasets.formats import TASKS
from deploy_prune.datasets.write import write_digits

__all__ = ["TASKS", "write_digits"]
