"""What each width of each group costs where there is no data: the importance that goes."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

import numpy as np
import torch

from deploy_prune.count import Count
from deploy_prune.search.menu import Menu
from deploy_prune.search.prunable import Prunable

MenuWidths = Mapping[str, tuple[int, ...]]


def importance_menu(prunable: Prunable, widths: MenuWidths, counted: Count) -> Menu:
    """Loss of a width: the share of its group's importance that goes times the group's share of the model's work.

    The work is the multiply-accumulates of what the group's units touch; parameters where that is none. So half of a
    large layer costs more than half of a small one, and at a given latency as much computation as possible stays.

    Args:
        prunable: the model and its units' importance.
        widths: the choices per group.
        counted: what the dense model computes.
    """
    loss = {}
    for name, choices in widths.items():
        scores = prunable.ranking[name].scores.double()
        gone = torch.cat([torch.zeros(1, dtype=torch.float64), (scores - scores.min().clamp_max(0)).cumsum(0)])
        share = gone / gone[-1].clamp_min(1e-30) * work_share(prunable, name, counted)
        begun = share[len(scores) - choices[-1]]
        loss[name] = tuple(float(share[len(scores) - width] - begun) for width in choices)
    return Menu(dict(widths), loss, offered_branches(prunable, widths))


def work_share(prunable: Prunable, group: str, counted: Count) -> float:
    """The share of the model's MACs in parameters' parts that units of a group touch on any axis; else of parameters.

    MACs of products of two activations belong to no parameter and do not count.
    """
    parameters = dict(prunable.model.named_parameters())
    left: dict[str, dict[int, float]] = {}
    for s in prunable.graph.units.group(group).slices:
        if s.parameter in parameters:
            size = parameters[s.parameter].shape[s.axis]
            left.setdefault(s.parameter, {})[s.axis] = 1 - len(np.unique(s.indices)) / size
    touched = {name: 1 - prod(axes.values()) for name, axes in left.items()}
    macs = sum(counted.weights.get(name, 0) * part for name, part in touched.items())
    if macs:
        return macs / sum(counted.weights.values())
    return sum(parameters[name].numel() * part for name, part in touched.items()) / max(counted.params, 1)


def offered_branches(prunable: Prunable, widths: MenuWidths) -> tuple[tuple[str, ...], ...]:
    """The groups of each branch that may go by these widths."""
    return tuple(groups for groups in prunable.branches.values() if all(0 in widths.get(g, ()) for g in groups))
