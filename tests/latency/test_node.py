import numpy as np
import pytest

from deploy_prune.latency.node import fit_node
from deploy_prune.latency.series import NodeSeries
from deploy_prune.latency.sizes import AffineSize
from deploy_prune.latency.tables import tabulate

FULL = {"a": 64, "b": 64, "c": 64, "d": 64}
MENU = dict.fromkeys(FULL, (16, 32, 48, 64))


def node(inputs, outputs, time, seed=0):
    """A node over 40 random variants: input and output sums of groups, time ``time(i, o)``."""
    rng = np.random.default_rng(seed)
    widths = {g: rng.choice(MENU[g], 40) for g in FULL}
    sizes = tuple(AffineSize(0.0 if groups else 64.0, dict.fromkeys(groups, 1.0)) for groups in (inputs, outputs))
    dense = tuple(64.0 * max(len(groups), 1) for groups in (inputs, outputs))
    elements = (
        sum((widths[g] for g in groups), np.full(40, size.constant))
        for groups, size in zip((inputs, outputs), sizes, strict=True)
    )
    i, o = (e / d for e, d in zip(elements, dense, strict=True))
    present = np.ones(40, dtype=bool)
    return fit_node(NodeSeries("n", "Conv", sizes, dense, i, o, time(i, o), present))


def staircase(i, o):
    return 1e-5 + 1e-4 * i * o * (1 + 0.1 * (np.round(o * 4) % 2))


@pytest.mark.parametrize(
    ("inputs", "outputs", "axes"),
    [
        (("a",), ("b",), ("i", "o")),
        (("a",), ("a",), ("o",)),
        (("a", "b"), ("a",), ("i", "o")),
        (("a", "b", "c"), ("d",), ("o",)),
        (("a", "b", "c"), ("a",), ("o",)),
        (("d",), ("a", "b", "c"), ("i",)),
        (("a", "b"), ("c", "d"), ()),
    ],
)
def test_tables_hold_the_corrected_time_exactly(inputs, outputs, axes):
    fitted = node(inputs, outputs, staircase)
    tables = tabulate([fitted], MENU, FULL)
    assert fitted.axes == axes
    rng = np.random.default_rng(1)
    for _ in range(20):
        widths = {g: int(rng.choice(MENU[g])) for g in FULL}
        assert tables.cost_s(widths) == pytest.approx(float(fitted.time_s(*fitted.sizes_at(widths))), rel=1e-9)


def test_product_of_sizes_is_found_and_not_invented():
    contraction = node(("a",), ("b",), lambda i, o: 1e-5 + 1e-4 * i * o)
    assert contraction.smooth.coefficients == pytest.approx((1e-5, 0, 0, 1e-4), rel=1e-3, abs=1e-9)
    pointwise = node(("a",), ("b",), lambda i, o: 1e-5 + 2e-5 * i + 3e-5 * o)
    assert pointwise.smooth.coefficients == pytest.approx((1e-5, 2e-5, 3e-5, 0), rel=1e-3, abs=1e-9)


def test_constant_node_is_its_time():
    fitted = node((), (), lambda i, o: np.full(40, 7e-6))
    assert fitted.groups == ()
    assert float(fitted.time_s(1.0, 1.0)) == pytest.approx(7e-6)
    assert tabulate([fitted], MENU, FULL).constant_s == pytest.approx(7e-6)


def test_no_correction_makes_a_time_negative():
    fitted = node(("a",), ("b",), lambda i, o: np.where(o > 0.6, 1e-4, 1e-9))
    assert (fitted.time_s(np.linspace(0.1, 1, 20), np.linspace(0.1, 1, 20)) >= 0).all()
