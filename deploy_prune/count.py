"""Multiply-accumulate operations and parameters of a model: whole, per layer and per parameter."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree
from torch.utils.flop_counter import FlopCounterMode

from deploy_prune.graph.calling import Inputs, call_model
from deploy_prune.graph.preserve import preserved

Shape = Sequence[int]


@dataclass(frozen=True)
class Count:
    """Multiply-accumulates of one forward pass, and parameters.

    Attributes:
        macs: of the whole pass: convolutions, matrix products, attention and recurrent layers.
        params: elements of all parameters; a tied one counts once.
        layers: MACs by module, its children included; only modules that run any, ``""`` is the model.
        weights: MACs by the parameter that is multiplied with. What ``macs`` holds beyond their sum are products of two
            activations, such as attention scores.
    """

    macs: int
    params: int
    layers: dict[str, int]
    weights: dict[str, int]


def count(model: nn.Module, example_inputs: Inputs) -> Count:
    """Count in eval mode, as half of the operations that ``torch.utils.flop_counter`` counts.

    Every operator is seen as it runs, in functional calls too; attention's fused fast path is switched off meanwhile.
    Additions, norms, activations, pooling and embeddings count nothing. The model is left as it was.
    """
    own = {module: name for name, module in model.named_modules()}
    # The counter knows a module that has several names by any one of them.
    first_names = {name: own[module] for name, module in model.named_modules(remove_duplicate=False)}
    counter = FlopCounterMode(display=False, custom_mapping=_formulas())
    weights = _Weights(model, lambda: max(counter.mod_tracker.parents - {"Global"}, key=len, default=""))
    counter.flop_registry = {operator: weights.hearing(operator, f) for operator, f in counter.flop_registry.items()}
    with preserved(model), torch.no_grad(), counter:
        model.eval()
        call_model(model, example_inputs)
    root = type(model).__name__
    layers = {}
    for path, by_operator in counter.get_flop_counts().items():
        name = str(path).removeprefix(root).removeprefix(".")
        if name in first_names:  # others are modules that the forward made itself, and the counter's own total
            layers[first_names[name]] = sum(by_operator.values()) // 2
    params = sum(p.numel() for p in model.parameters())
    return Count(counter.get_total_flops() // 2, params, layers, dict(weights.macs))


def count_ops_and_params(model: nn.Module, example_inputs: Inputs, layer_wise: bool = False) -> tuple[Any, ...]:
    """MACs per sample and parameters, as Torch-Pruning's function of this name returns them.

    The batch is the length of the first positional input; a dict of keyword arguments counts as one sample.

    Returns:
        ``(ops, params)``; with ``layer_wise`` also two dicts from each module to its own, its children included.
    """
    first = example_inputs[0] if isinstance(example_inputs, (tuple, list)) else example_inputs
    batch = len(first) if isinstance(first, torch.Tensor) and first.ndim else 1
    counted = count(model, example_inputs)
    total = counted.macs // batch, counted.params
    if not layer_wise:
        return total
    ops = {module: counted.layers.get(name, 0) // batch for name, module in model.named_modules()}
    params = {module: sum(p.numel() for p in module.parameters()) for module in model.modules()}
    return *total, ops, params


class _Weights:
    """Which parameters the counted operators multiply with."""

    def __init__(self, model: nn.Module, running: Callable[[], str]) -> None:
        self.macs: Counter[str] = Counter()
        self._running = running
        self._root = type(model).__name__
        self._modules = dict(model.named_modules(remove_duplicate=False))
        self._names = {p: n for n, p in model.named_parameters()}
        self._by_address = sorted((p.data_ptr(), p.nbytes, n) for p, n in self._names.items() if p.ndim > 1)
        self._addresses = [start for start, _, _ in self._by_address]

    def hearing(self, operator: Any, formula: Callable[..., int]) -> Callable[..., int]:
        """The formula, which also books its operations on the parameters among the operator's arguments."""
        weight_at = _WEIGHT_ARGUMENT.get(operator)

        def heard(*args: Any, out_val: Any = None, **kwargs: Any) -> int:
            flops = formula(*args, out_val=out_val, **kwargs)
            sizes: Counter[str] = Counter()
            for tensor in pytree.tree_leaves((args, kwargs)):
                name = self._stored_in(tensor) if isinstance(tensor, torch.Tensor) and tensor.ndim > 1 else None
                if name is not None:
                    sizes[name] += tensor.numel()
            if not sizes and weight_at is not None and (name := self._computed_from(args[weight_at])):
                sizes[name] = 1
            for name, size in sizes.items():
                self.macs[name] += flops * size // (2 * sizes.total())
            return flops

        return heard

    def _stored_in(self, tensor: torch.Tensor) -> str | None:
        """The parameter that a tensor is a view or a part of."""
        k = bisect_right(self._addresses, tensor.data_ptr()) - 1
        if k < 0:
            return None
        start, size, name = self._by_address[k]
        return name if 0 < start <= tensor.data_ptr() < start + size else None

    def _computed_from(self, weight: torch.Tensor) -> str | None:
        """The parameter of the running layer that has the shape of a weight computed from it: normalised, cast …"""
        module = self._modules.get(self._running().removeprefix(self._root).removeprefix("."), nn.Module())
        shapes = (weight.shape, weight.shape[::-1])
        return next((self._names[p] for p in module.parameters() if p.ndim > 1 and p.shape in shapes), None)


# Where a layer passes its weight; matrices arrive transposed.
_WEIGHT_ARGUMENT = {torch.ops.aten.convolution: 1, torch.ops.aten.mm: 1, torch.ops.aten.addmm: 2}


def _formulas() -> dict[Any, Callable[..., int]]:
    """Operations of operators that some supported torch has no or a wrong formula for, from the arguments' shapes."""
    by_name: dict[str, Callable[..., int]] = {
        "mv": _per_row,
        "dot": _per_row,
        "addmv": lambda bias, matrix, *_, **__: _per_row(matrix),
        "addbmm": lambda total, left, right, **_: 2 * prod(left) * right[-1],
        "_trilinear": lambda left, weight, *_, **__: 2 * left[0] * prod(weight),
        "mkldnn_rnn_layer": lambda data, *weights, **_: _recurrent(data, weights[:2]),
        "_cudnn_rnn": lambda data, weights, *_, **__: _recurrent(data, weights),
        "_scaled_dot_product_flash_attention_for_cpu": _attention,
        "_scaled_dot_product_flash_attention": _attention,
        "_scaled_dot_product_efficient_attention": _attention,
        "_scaled_dot_product_cudnn_attention": _attention,
        "_scaled_dot_product_fused_attention_overrideable": _attention,
    }
    known = {getattr(torch.ops.aten, n): f for n, f in by_name.items() if hasattr(torch.ops.aten, n)}
    if hasattr(torch.ops.torchvision, "deform_conv2d"):  # registered once torchvision is imported
        known[torch.ops.torchvision.deform_conv2d] = _deformable_convolution
    return known


def _per_row(matrix: Shape, *_: Any, **__: Any) -> int:
    return 2 * prod(matrix)


def _recurrent(data: Shape, weights: Sequence[Shape]) -> int:
    """Every matrix meets every time step once; ``data`` (..., features)."""
    return 2 * prod(data[:-1]) * sum(prod(w) for w in weights if len(w) == 2)


def _attention(query: Shape, key: Shape, value: Shape, *_: Any, **__: Any) -> int:
    """Scores and their product with the values, all of them, masked or not: (..., heads, tokens, d)."""
    return 2 * prod(query[:-1]) * key[-2] * (query[-1] + value[-1])


def _deformable_convolution(data: Shape, weight: Shape, *_: Any, out_shape: Shape, **__: Any) -> int:
    """(batch, channels, height, width) and (out, in / groups, height, width)."""
    return 2 * out_shape[0] * prod(out_shape[2:]) * prod(weight)
