import numpy as np
import pytest

from deploy_prune.errors import InputError
from deploy_prune.latency.tables import CostTables

WIDTHS = {"a": (8, 16), "b": (8, 16, 24)}


def test_cost_by_hand():
    pair = {("a", "b"): np.array([[1.0, 2, 3], [10, 20, 30]])}
    tables = CostTables(WIDTHS, 0.5, {"b": np.array([100.0, 200, 300])}, pair)
    assert tables.cost_s({"a": 16, "b": 8}) == 0.5 + 100 + 10
    assert tables.cost_s({"a": 8, "b": 24}) == 0.5 + 300 + 3


def test_wrong_shape_is_refused():
    with pytest.raises(InputError, match=r"cost table for \('b',\) has shape \(2,\), its widths need \(3,\)"):
        CostTables(WIDTHS, 0.0, {"b": np.zeros(2)}, {})


def test_group_that_is_not_on_the_menu_is_refused():
    with pytest.raises(InputError, match="group 'c' is not on the menu"):
        CostTables(WIDTHS, 0.0, {}, {("a", "c"): np.zeros((2, 2))})
