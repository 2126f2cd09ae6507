"""Waiting is taken out of the nodes it fell into; the rest of a node's times stays as the engine gave it."""

import base64
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from deploy_prune.errors import MeasurementError
from deploy_prune.runtime.nodes import read_nodes, remove_waits


def test_a_wait_is_taken_from_the_node_that_it_fell_into():
    usual = np.tile([[2.0], [3.0], [1.0]], (1, 4))  # 3 nodes, 4 runs, ms
    disturbed = usual.copy()
    disturbed[1, 2] += 5.0  # in run 2 another process had the core for 5 ms while node 1 ran
    assert remove_waits(disturbed, np.array([0, 0, 5.0, 0])).tolist() == usual.tolist()


def test_a_wait_longer_than_the_largest_excess_goes_on_to_the_next():
    times = np.tile([[2.0], [3.0]], (1, 4))
    times[0, 3], times[1, 3] = 2.0 + 4.0, 3.0 + 6.0
    corrected = remove_waits(times, np.array([0, 0, 0, 8.0]))
    assert corrected[:, 3].tolist() == [2.0 + 2.0, 3.0]  # 6 of the 8 from node 1, the other 2 from node 0


def test_a_node_that_most_runs_interrupt_keeps_its_own_time():
    times = np.full((1, 5), 2.0)
    waits = np.array([3.0, 4.0, 5.0, 6.0, 0.0])  # four of five runs: a lower quartile would be 5
    assert remove_waits(times + waits, waits).tolist() == times.tolist()


matrices = hnp.arrays(float, hnp.array_shapes(min_dims=2, max_dims=2, max_side=6), elements=st.floats(0, 10))


@given(matrices, st.floats(0, 20))
def test_never_more_than_the_wait_is_removed_and_never_below_the_fastest_run(times, wait):
    corrected = remove_waits(times, np.full(times.shape[1], wait))
    assert np.all(corrected <= times) and np.all(times.sum(0) - corrected.sum(0) <= wait + 1e-9)
    assert np.all(corrected >= times.min(axis=1, keepdims=True) - 1e-12)


@given(matrices)
def test_undisturbed_times_stay_as_they_are(times):
    assert np.array_equal(remove_waits(times, np.zeros(times.shape[1])), times)


def test_a_profile_with_missing_runs_is_refused():
    node = {"name": "/a", "op": "Relu", "inputs": [], "outputs": [], "activation_bytes": 0}
    reply = {"nodes": [{**node, "durations_us": [1, 2]}], "graph": base64.b64encode(b"").decode()}
    with pytest.raises(MeasurementError) as caught:
        read_nodes(Path("m.onnx"), reply, positions=[0, 1, 2], waits_s=[0, 0, 0])
    assert str(caught.value) == (
        "the engine's profile of m.onnx misses runs of node '/a'; set a smaller 'min_runs' in the profile"
    )
