"""The example of docs/search.md, number by number."""

import pytest
import torch
from torch import nn

from deploy_prune.count import count
from deploy_prune.errors import UnreachableBudgetError
from deploy_prune.search.menu import Menu
from deploy_prune.search.programme import build_programme
from deploy_prune.search.prunable import Prunable
from deploy_prune.search.solver import Limit, solve
from deploy_prune.search.work import mac_work, parameter_work

MODEL = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3))
IMAGE = torch.rand(1, 3, 10, 10)
MENU = Menu({"0": (4, 8), "2": (2, 4)}, {"0": (0.3, 0.0), "2": (0.2, 0.0)})


@pytest.fixture(scope="module")
def tables():
    prunable = Prunable.of(MODEL, IMAGE)
    macs, params = mac_work(prunable, count(MODEL, IMAGE).macs), parameter_work(prunable)
    assert macs.always.terms == {("0",): 1728, ("0", "2"): 324, ("2",): 288}
    assert params.always.terms == {("0",): 28, ("0", "2"): 9, ("2",): 19, (): 2}
    return macs.tables(MENU.widths), params.tables(MENU.widths)


@pytest.mark.parametrize(
    ("a", "b", "macs", "params", "loss"),
    [(4, 2, 10080, 224, 0.5), (4, 4, 13248, 334, 0.3), (8, 2, 19584, 408, 0.2), (8, 4, 25344, 590, 0)],
)
def test_the_table(tables, a, b, macs, params, loss):
    widths = {"0": a, "2": b}
    assert [t.cost_s(widths) for t in tables] == [macs, params]
    assert MENU.loss_at(widths) == loss


@pytest.mark.parametrize(("most", "widths"), [(None, (8, 2)), (350, (4, 4)), (300, (4, 2))])
def test_the_choices(tables, most, widths):
    also = [Limit("parameters", tables[1], most)] if most else []
    found = solve(MENU, tables[0], 25000, also=also)
    assert tuple(found.widths.values()) == widths and found.gap == pytest.approx(0, abs=1e-9)


def test_what_is_unreachable(tables):
    with pytest.raises(UnreachableBudgetError, match=r"parameters budget of 200\.0 is unreachable: .* 224\.0; allow"):
        solve(MENU, tables[0], 25000, also=[Limit("parameters", tables[1], 200)])


def test_the_size_of_the_programme(tables):
    programme = build_programme(MENU.widths, tables)
    assert (programme.choices, programme.size) == (4, 4 + 4)
