"""Operator rules, one file per family; importing this package fills :data:`~deploy_prune.graph.rules.table.RULES`."""

from deploy_prune.graph.rules import (
    attention,
    contraction,
    convolution,
    creation,
    elementwise,
    indexing,
    joining,
    normalization,
    quantization,
    recurrent,
    reduction,
    selection,
    shape,
    spatial,
    spectral,
    vision,
    writing,
)
from deploy_prune.graph.rules.table import RULES, Call

__all__ = [
    "RULES",
    "Call",
    "attention",
    "contraction",
    "convolution",
    "creation",
    "elementwise",
    "indexing",
    "joining",
    "normalization",
    "quantization",
    "recurrent",
    "reduction",
    "selection",
    "shape",
    "spatial",
    "spectral",
    "vision",
    "writing",
]
