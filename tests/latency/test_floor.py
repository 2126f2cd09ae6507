"""The floor on a network of four nodes, by hand."""

from dataclasses import replace

import numpy as np
import pytest

from deploy_prune.latency.floor import Floor, find_floor
from deploy_prune.latency.model import LatencyModel
from deploy_prune.latency.sample import NodeSample, VariantSample


def variant(width):
    """A convolution of 1 ms per 10 channels, frozen and undecided nodes of fixed times, and a decoder at the end."""
    nodes = (
        NodeSample("stem", "Conv", 48, 4800, 0.002),
        NodeSample("resize", "Resize", 4800, 4800, 0.0005),
        NodeSample("conv", "Conv", 4800, 100 * width, 1e-4 * width),
        NodeSample("decode", "Concat", 700, 700, 0.001),
    )
    return VariantSample({"conv": width}, nodes, 0.0001 + sum(node.time_s for node in nodes))


def test_the_floor_is_divided_by_who_decides_it():
    model = LatencyModel.fit([variant(width) for width in (64, 56, 48, 40, 32, 24, 16, 8)], {"conv": 64})
    floor = find_floor(model, {"conv": 10}, unit=2.0)
    assert floor.narrowest_s == pytest.approx(2 * 0.001, rel=0.03)
    assert floor.frozen_s == pytest.approx(2 * 0.002, rel=0.03)
    assert floor.undecided_s == pytest.approx(2 * 0.0005, rel=0.03)
    assert floor.post_processing_s == pytest.approx(2 * 0.001, rel=0.03)
    assert floor.total_s == pytest.approx(2 * model.predict({"conv": 10}).total_s)
    assert floor.std_s == pytest.approx(2 * model.predict({"conv": 10}).std_s)
    assert floor.dense_s == pytest.approx(2 * model.predict({}).total_s)


def test_it_is_said_in_milliseconds_and_without_what_is_zero():
    floor = Floor(0.001, 0.002, 0.0, 0.0005, -0.0001, 0.01, 0.0002)
    assert floor.describe() == (
        "3.400 ms (nodes at their narrowest widths 1.000, frozen layers 2.000, post-processing 0.500, overhead -0.100)"
    )
    assert replace(floor, overhead_s=0.0).fixed_s == pytest.approx(0.0025)
    assert np.isclose(floor.total_s, 0.0034)
