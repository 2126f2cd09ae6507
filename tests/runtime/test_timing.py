"""Statistics by hand and by law, and the refusal to compare unlike conditions."""

import dataclasses
from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy_prune.errors import InputError
from deploy_prune.runtime.contention import UNOBSERVED
from deploy_prune.runtime.timing import Conditions, Timing, median_interval, require_alike

CONDITIONS = Conditions(
    profile="p", machine="0123456789ab", processor="A CPU", governor=None, power_mode=None, clocks="observed",
    timer="host", engine="onnxruntime", engine_version="1.32.0", provider="CPUExecutionProvider", mode=None,
    device="cpu", threads=1, spinning=False, affinity=None, precision="fp32", executed_precision=None, batch=1,
    inputs=("float32[1, 3, 8, 8]",), contention=UNOBSERVED,
)  # fmt: skip


def test_order_statistics_interval_against_the_tables():
    # n = 20: ranks 6 and 15; n = 10: ranks 2 and 9; n = 6: the range (Conover, table A3 at p = 0.5)
    assert median_interval(range(1, 21)) == (6, 15)
    assert median_interval(range(10, 0, -1)) == (2, 9)
    assert median_interval(range(1, 7)) == (1, 6)
    assert median_interval([7.0]) == (7.0, 7.0)


@given(st.lists(st.floats(1e-6, 10), min_size=1, max_size=60))
def test_interval_holds_the_median_and_does_not_depend_on_order(samples):
    low, high = median_interval(samples)
    assert min(samples) <= low <= median(samples) <= high <= max(samples)
    assert median_interval(sorted(samples)) == (low, high)


def test_summary_of_known_samples():
    timing = Timing(tuple(float(i) for i in range(1, 102)), (0.0,) * 101, "interval", CONDITIONS)
    assert (timing.n, timing.median_s, timing.p90_s, timing.p99_s, timing.iqr_s) == (101, 51, 91, 100, 50)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"threads": 2}, "threads (1 and 2)"),
        ({"machine": "ffffffffffff"}, "machine (0123456789ab and ffffffffffff)"),
        ({"precision": "fp16", "batch": 4}, "precision (fp32 and fp16), batch (1 and 4)"),
    ],
)
def test_unlike_conditions_are_refused_by_name(change, named):
    with pytest.raises(InputError) as caught:
        require_alike(CONDITIONS, dataclasses.replace(CONDITIONS, **change))
    assert f"their conditions differ in {named}; measure both" in str(caught.value)


def test_the_name_of_the_profile_and_the_load_are_no_conditions():
    busy = dataclasses.replace(UNOBSERVED, other_cores=3.0)
    require_alike(CONDITIONS, dataclasses.replace(CONDITIONS, profile="q", contention=busy))
