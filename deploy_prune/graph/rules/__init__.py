"""Operator rules, one file per family; importing this package fills :data:`~deploy_prune.graph.rules.table.RULES`."""

from deploy_prune.graph.rules import contraction, elementwise, normalization, reduction, selection, shape, spatial
from deploy_prune.graph.rules.table import RULES, Call

__all__ = ["RULES", "Call", "contraction", "elementwise", "normalization", "reduction", "selection", "shape", "spatial"]
