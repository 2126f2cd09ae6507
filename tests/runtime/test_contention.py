"""The kernel's words at two moments, and what follows from them, worked out by hand."""

import json
import os
import subprocess
import sys

import pytest

from deploy_prune.runtime.contention import Contention, contention_between, contention_over
from deploy_prune.runtime.measure import measure


def state(time_s, own_cpu_s, *, busy=0, stolen=0, wait_ns=0, load="0.10", pressure="0.00", clock_khz=None, **kernel):
    return {
        "time_s": time_s,
        "own_cpu_s": own_cpu_s,
        "ticks_per_s": 100,
        "loadavg": [f"{load} 0.20 0.30 1/89 4187\n"],
        "pressure": [f"some avg10={pressure} avg60=0.99 avg300=0.34 total=1\nfull avg10=0.00\n"],
        "stat": [f"cpu  {busy} 0 0 99999 5 0 0 {stolen} 0 0\ncpu0 1 0 0 9 0 0 0 0 0 0\n"],
        "schedstat": [f"123 {wait_ns} 7\n", "1 0 1\n"],
        "clocks": [] if clock_khz is None else [f"{clock_khz}\n", "800000\n"],
        "throttles": [],
        "temperatures": [],
        "coolers": [],
        "cooling": [],
        "rails_w": {},
        "overcurrents": {},
        "throttled": "",
        **kernel,
    }


def test_a_quiet_machine():
    seen = contention_between([state(0, 0)], [state(10, 9.5, busy=960)])
    assert seen.other_cores == pytest.approx(0.01)  # 9.6 s busy, 9.5 of them our own, in 10 s
    assert (seen.stolen_cores, seen.wait_share, seen.duration_s) == (0, 0, 10)
    assert not seen.contended and seen.reasons == ()


def test_other_processes_the_hypervisor_and_waiting_are_told_apart():
    before = [state(0, 1), state(0, 2)]
    after = [state(10, 4, busy=2000, stolen=50, wait_ns=2_000_000_000), state(10, 5)]
    seen = contention_between(before, after)
    assert seen.other_cores == pytest.approx(1.4)  # 20 s busy, 6 of them by both workers
    assert seen.stolen_cores == pytest.approx(0.05)
    assert seen.wait_share == pytest.approx(2 / 8)
    assert seen.contended and seen.reasons == (
        "other processes used 1.4 cores",
        "the hypervisor took 0.05 cores",
        "the worker waited for a core 25% of the time",
    )


def test_readings_at_both_ends_are_kept():
    before, after = state(0, 0, load="0.50", clock_khz=3_000_000), state(1, 1, pressure="42.00")
    seen = contention_between([before], [after])
    assert seen.load_average == (0.5, 0.1)
    assert seen.pressure == (0.0, 42.0)
    assert seen.frequency_hz == (3_000_000_000, 3_000_000_000)
    assert Contention.from_dict(json.loads(json.dumps(seen.to_dict()))) == seen


def test_a_kernel_that_tells_nothing():
    files = "loadavg pressure stat schedstat clocks throttles temperatures coolers cooling"
    silent = {"ticks_per_s": None, **{name: [] for name in files.split()}}
    silent |= {"rails_w": {}, "overcurrents": {}, "throttled": ""}
    seen = contention_between([{**silent, "time_s": 0, "own_cpu_s": 0}], [{**silent, "time_s": 1, "own_cpu_s": 1}])
    assert (seen.other_cores, seen.stolen_cores, seen.wait_share, seen.throttles) == (None,) * 4
    assert not seen.contended


def test_several_intervals_weigh_by_their_duration():
    quiet = contention_between([state(0, 0, load="1.00")], [state(10, 9, busy=900)])
    busy = contention_between([state(20, 0)], [state(50, 9, busy=3900, load="3.00")])
    whole = contention_over([quiet, busy])
    assert (whole.duration_s, whole.load_average) == (40, (1.0, 3.0))
    assert whole.other_cores == pytest.approx(30 / 40)


def test_what_is_unknown_in_one_interval_is_unknown_in_all():
    known = contention_between([state(0, 0)], [state(10, 9, busy=900)])
    unknown = Contention.from_dict({**known.to_dict(), "other_cores": None})
    assert contention_over([known, unknown]).other_cores is None


def test_a_clock_that_changed_is_seen_although_it_came_back():
    fast, slow = (state(t, t, clock_khz=khz) for t, khz in ((0, 3_500_000), (5, 2_100_000)))
    seen = contention_between([fast], [state(10, 10, clock_khz=3_500_000)], [slow])
    assert seen.frequency_hz == (2_100_000_000, 3_500_000_000)
    assert seen.reasons == ("the clock went between 2.10 and 3.50 GHz",)
    steady = contention_between([fast], [state(10, 10, clock_khz=3_400_000)])
    assert not steady.contended


def test_throttling_is_counted_and_a_fan_is_no_throttling():
    before = state(0, 0, throttles=["7\n", "2\n"], coolers=["Processor\n", "pwm-fan\n"], cooling=["0\n", "3\n"])
    after = state(9, 9, throttles=["10\n", "2\n"], coolers=["Processor\n", "pwm-fan\n"], cooling=["2\n", "3\n"],
                  temperatures=["45000\n", "98500\n"])  # fmt: skip
    seen = contention_between([before], [after])
    assert (seen.throttles, seen.cooling, seen.temperature_c) == (3, ("Processor",), (None, 98.5))
    assert seen.reasons == ("the processor throttled 3 times", "heat held back Processor")
    assert Contention.from_dict(json.loads(json.dumps(seen.to_dict()))) == seen
    assert contention_over([seen, seen]).throttles == 6


def test_a_busy_machine_is_really_seen(make_model, brief):
    """Real processes that burn every core, and a real measurement beside them."""
    burning = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(os.cpu_count())]
    try:
        timing = measure(make_model(), brief)
    finally:
        for process in burning:
            process.kill()
            process.wait()
    assert timing.conditions.contention.contended
    assert timing.conditions.contention.other_cores > 0.2


def test_what_a_board_draws_and_reports():
    quiet = {
        "rails_w": {"VDD_IN": 5.0, "VDD_CPU": 1.5},
        "overcurrents": {"oc1_event_cnt": 3},
        "throttled": "throttled=0x50000",
    }
    seen = contention_between(
        [state(0, 0, **quiet)],
        [state(2, 2, **{**quiet, "rails_w": {"VDD_IN": 6.5}, "overcurrents": {"oc1_event_cnt": 5}})],
        [state(1, 1, **{**quiet, "rails_w": {"VDD_IN": 9.0}, "throttled": "throttled=0x50005"})],
    )
    assert seen.power_w == (5.0, 9.0)
    assert seen.events == ("under-voltage", "throttled", "over-current, oc1_event_cnt 2 times")
    assert seen.contended and seen.reasons[0] == "the board reports: under-voltage"
    assert Contention.from_dict(json.loads(json.dumps(seen.to_dict()))) == seen


def test_rails_without_one_for_the_whole_are_added():
    rails = {"rails_w": {"VDD_GPU_SOC": 2.0, "VDD_CPU_CV": 0.5}}
    assert contention_between([state(0, 0, **rails)], [state(1, 1, **rails)]).power_w == (2.5, 2.5)


def test_measurements_kept_before_power_was_read():
    old = contention_between([state(0, 0)], [state(1, 1)]).to_dict()
    del old["power_w"], old["events"]
    assert Contention.from_dict(old).power_w == (None, None)
