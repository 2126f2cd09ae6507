"""Calls of operators that multiply, kept so that the arithmetic of networks of other widths can be counted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

MULTIPLYING = frozenset({
    "mm", "addmm", "bmm", "baddbmm", "mv", "addmv", "dot", "convolution", "torchvision.deform_conv2d",
    "mkldnn_rnn_layer", "_scaled_dot_product_flash_attention_for_cpu", "_scaled_dot_product_flash_attention",
    "_scaled_dot_product_efficient_attention", "_scaled_dot_product_cudnn_attention",
    "_scaled_dot_product_fused_attention_overrideable",
})  # fmt: skip
"""Operators whose calls are kept."""


@dataclass(frozen=True, eq=False)
class Product:
    """A call in the first run that succeeded: its arguments, every tensor as its ``Value``.

    ``shape`` is that of the first output, ``module`` the innermost module that ran. It says nothing about what may go.
    """

    operator: str
    args: tuple[Any, ...]
    shape: tuple[int, ...]
    module: str
