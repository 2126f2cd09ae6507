"""What each width of each group costs: importance removed, or the measured change of the output."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from torch.utils import _pytree as pytree

from deploy_prune.graph.calling import Inputs, call_model
from deploy_prune.graph.preserve import preserved
from deploy_prune.pruner.branches import zeroed
from deploy_prune.pruner.plan import Plan
from deploy_prune.search.menu import Menu
from deploy_prune.search.prunable import Prunable

MenuWidths = Mapping[str, tuple[int, ...]]


def importance_menu(prunable: Prunable, widths: MenuWidths) -> Menu:
    """Loss of a width: the share of its group's importance that goes (no data needed)."""
    loss = {}
    for name, choices in widths.items():
        scores = prunable.ranking[name].scores.double()
        gone = torch.cat([torch.zeros(1, dtype=torch.float64), (scores - scores.min().clamp_max(0)).cumsum(0)])
        share = gone / gone[-1].clamp_min(1e-30)
        loss[name] = tuple(float(share[len(scores) - width]) for width in choices)
    return Menu(dict(widths), loss, _offered(prunable, widths))


def divergence_menu(
    prunable: Prunable,
    widths: MenuWidths,
    inputs: Inputs,
    *,
    output_transform: Callable[[Any], Any] | None = None,
    advance: Callable[[], None] = lambda: None,
) -> Menu:
    """Loss of a width: how far the output moves on real inputs when this group alone is pruned to it.

    Width 0 is measured without the whole branch, and its loss shared among the branch's groups.

    The distance of an output tensor is its squared error over its squared magnitude, averaged over the output's
    tensors; narrower widths of a group never count less than wider ones. Needs one forward pass per group and width,
    in eval mode, on the model itself with the removed slices set to zero; ``advance`` is called after each group.
    """
    model = prunable.model

    def outputs() -> list[torch.Tensor]:
        output = call_model(model, inputs)
        output = output_transform(output) if output_transform else output
        return [
            t.float().clone()
            for t in pytree.tree_leaves(output)
            if isinstance(t, torch.Tensor) and t.is_floating_point()
        ]

    loss: dict[str, tuple[float, ...]] = {}
    with preserved(model), torch.no_grad():
        model.eval()
        dense = outputs()
        partners = {name: groups for groups in prunable.branches.values() for name in groups}
        for name, choices in widths.items():
            found = []
            for width in choices[:-1]:
                together = (name,) if width else partners.get(name, (name,))
                with _silenced(prunable, prunable.plan(dict.fromkeys(together, width))):
                    found.append(_distance(dense, outputs()) / len(together))
            without, narrowed = found[: choices.count(0)], found[choices.count(0) :]
            loss[name] = (*without, *np.maximum.accumulate(narrowed[::-1])[::-1].tolist(), 0.0)
            advance()
    return Menu(dict(widths), loss, _offered(prunable, widths))


def _offered(prunable: Prunable, widths: MenuWidths) -> tuple[tuple[str, ...], ...]:
    """The groups of each branch that may go by these widths."""
    return tuple(groups for groups in prunable.branches.values() if all(0 in widths.get(g, ()) for g in groups))


def _distance(dense: list[torch.Tensor], pruned: list[torch.Tensor]) -> float:
    shares = [
        float((a - b).square().sum() / a.square().sum().clamp_min(1e-30)) for a, b in zip(dense, pruned, strict=True)
    ]
    return float(np.mean(shares))


@contextmanager
def _silenced(prunable: Prunable, plan: Plan) -> Iterator[None]:
    """The model with every slice and branch that ``plan`` removes set to zero, for the time of the block."""
    tensors: dict[str, torch.Tensor] = dict((*prunable.model.named_parameters(), *prunable.model.named_buffers()))
    saved = []
    for cut in plan.cuts:
        gone = torch.from_numpy(np.setdiff1d(np.arange(cut.size), cut.kept)).to(tensors[cut.parameter].device)
        saved.append((cut, gone, tensors[cut.parameter].index_select(cut.axis, gone)))
        tensors[cut.parameter].index_fill_(cut.axis, gone, 0)
    try:
        with ExitStack() as stack:
            for branch in plan.branches:
                stack.enter_context(zeroed(prunable.model.get_submodule(branch)))
            yield
    finally:
        for cut, gone, content in reversed(saved):
            tensors[cut.parameter].index_copy_(cut.axis, gone, content)
