"""Width zero: a whole branch goes where that loses nothing and the budget demands it."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn
from zoo.topologies import enliven

from deploy_prune.count import count
from deploy_prune.errors import InputError, PlanError
from deploy_prune.importance.calibration import Calibration
from deploy_prune.latency.tables import CostTables
from deploy_prune.pruner import verify
from deploy_prune.search.loss import importance_menu, work_share
from deploy_prune.search.menu import Menu
from deploy_prune.search.pricing import measured_menu
from deploy_prune.search.prunable import Prunable
from deploy_prune.search.solver import solve

IMAGES = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))


class Block(nn.Module):
    """``x + last(relu(… relu(first(x))))`` with as many groups inside as it has gaps between layers."""

    def __init__(self, *widths):
        super().__init__()
        sizes = (8, *widths, 8)
        self.layers = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in pairwise(sizes))

    def forward(self, x):
        y = x
        for layer in self.layers[:-1]:
            y = layer(y).relu()
        return x + self.layers[-1](y)


def network(silent):
    """A stem, a block of one group, a block of two, and a head; the weights of ``silent`` are zero."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), Block(8), Block(8, 4), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3)
    )
    for parameter in model[silent].parameters():
        parameter.data.zero_()
    return enliven(model)


def prunable(silent=2):
    return Prunable.of(network(silent), IMAGES, remove_branches=True)


def costs(widths):
    """Latency as MACs per pixel of the blocks: the product of the widths on both sides of each convolution."""
    one, two, three = "1.layers.0", "2.layers.0", "2.layers.1"
    at = {g: np.array(widths[g], float) for g in (one, two, three)}
    unary = {one: 16 * at[one], two: 8 * at[two], three: 8 * at[three]}
    return CostTables(dict(widths), 1.0, unary, {(two, three): np.outer(at[two], at[three])})


def test_groups_of_branches_have_width_zero():
    found = prunable()
    assert found.branches == {"1": ("1.layers.0",), "2": ("2.layers.0", "2.layers.1")}
    assert found.menu_widths(4) == {"0": (4, 8), "1.layers.0": (0, 4, 8), "2.layers.0": (0, 4, 8), "2.layers.1": (0, 4)}
    assert not any(0 in w for w in Prunable.of(network(2), IMAGES).menu_widths(4).values())


def test_a_branch_with_an_ignored_layer_stays():
    model = network(2)
    found = Prunable.of(model, IMAGES, ignored_layers=[model[1].layers[0]], remove_branches=True)
    assert list(found.branches) == ["2"]


def by_importance(found, widths):
    return importance_menu(found, widths, count(found.model, IMAGES))


def by_measurement(found, widths):
    return measured_menu(found, widths, Calibration([IMAGES])).menu


@pytest.mark.parametrize("price", [by_importance, by_measurement])
@pytest.mark.parametrize("silent", [1, 2])
def test_the_silent_branch_goes_when_the_budget_demands_it(silent, price):
    found = prunable(silent)
    menu = price(found, found.menu_widths(4))
    inside = found.branches[str(silent)]
    assert sum(menu.loss[g][0] for g in inside) == 0
    tables = costs(menu.widths)
    dense_s = tables.cost_s(found.full_widths)
    saved_s = dense_s - tables.cost_s({**found.full_widths, **dict.fromkeys(inside, 0)})
    solution = solve(menu, tables, dense_s - saved_s)
    assert solution.widths == {**found.full_widths, **dict.fromkeys(inside, 0)} and solution.loss == 0
    plan = found.plan(solution.widths)
    assert plan.branches == (str(silent),)
    pruned = found.build(solution.widths)
    assert isinstance(pruned[silent], nn.Identity) and torch.equal(pruned(IMAGES), found.model(IMAGES))
    verify(found.model, pruned, plan, IMAGES)


def test_the_loss_of_a_branch_is_that_of_the_network_without_it():
    """Measured with the branch masked, shared among its groups; with importance all of each group's work."""
    found = prunable(silent=1)
    widths = found.menu_widths(4)
    menu = by_measurement(found, widths)
    with torch.no_grad():
        dense, cut = found.model(IMAGES), found.build(dict.fromkeys(found.branches["2"], 0))(IMAGES)
    expected = float((dense - cut).norm() / dense.norm())
    assert menu.loss["2.layers.0"][0] + menu.loss["2.layers.1"][0] == pytest.approx(expected, rel=1e-4)
    counted = count(found.model, IMAGES)
    removed = importance_menu(found, widths, counted)
    assert [removed.loss[g][0] for g in found.branches["2"]] == [
        work_share(found, g, counted) for g in found.branches["2"]
    ]


def test_groups_of_a_branch_go_together():
    """Alone, the first group's zero would be free of loss; its partner's is not."""
    widths = {"a": (0, 4), "b": (0, 4)}
    loss = {"a": (0.0, 0.0), "b": (5.0, 0.0)}
    tables = CostTables(widths, 1.0, {"a": np.array([0.0, 1.0]), "b": np.array([0.0, 1.0])}, {})
    apart = solve(Menu(widths, loss, (("a",), ("b",))), tables, 2.5)
    together = solve(Menu(widths, loss, (("a", "b"),)), tables, 2.5)
    assert apart.widths == {"a": 0, "b": 4} and together.widths == {"a": 0, "b": 0}


def test_half_a_branch_is_refused():
    with pytest.raises(PlanError, match=r"all 4 units of group 2\.layers\.1 would go"):
        prunable().plan({"2.layers.0": 8, "2.layers.1": 0})
    for branches in ((), (("a", "b"),), (("a",), ("a",))):
        with pytest.raises(InputError, match="width 0 is for groups of one branch, and for all of them"):
            Menu({"a": (0, 4), "b": (2, 4)}, {"a": (1.0, 0.0), "b": (1.0, 0.0)}, branches)
