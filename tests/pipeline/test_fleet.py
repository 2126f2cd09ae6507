"""A sweep of two models, two budgets and two profiles, measured for real: in local processes, and on a Ray cluster.

Latencies differ from run to run, and with them what a search asks next. The second sweep therefore runs on the store
that the first one filled: every plan that the first one measured is known, so that both have to come to the same
plans. What each measures afresh, the dense models and the final comparisons, may differ.
"""

import csv
import json
import os
import signal
import time

import pytest
from pipeline.fleet_place import ENGINES, make_place, start_sweep, write_sweep

from deploy_prune.runtime.device_lock import held_machine, lock_path

pytestmark = pytest.mark.slow
JOBS = [(model, engine) for model in ("models_one", "second") for engine in ENGINES]


def wait_for(condition, seconds=300):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.02)
    return found


def finish(sweep, folder):
    """Wait for a sweep; a budget may be missed on a busy machine, but no job may fail."""
    said, errors = sweep.communicate()
    assert sweep.returncode in (0, 1), said + errors
    assert json.loads((folder / "fleet.json").read_text())["failed"] == [], said


def ask_for_all(place):
    models = ["models:one", {"source": "models:two", "name": "second"}]
    write_sweep(place, models=models, budgets=[1.3, "2x"], profiles=[f"{engine}.yaml" for engine in ENGINES])


def plans(folder):
    """Every budget's widths by model and profile, None where it is out of reach."""
    found = {}
    for model, engine in JOBS:
        for budget in ("1.3x", "2x"):
            rounds = folder / model / engine / budget / "rounds.json"
            found[model, engine, budget] = [r["widths"] for r in json.loads(rounds.read_text())]
    return found


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """A folder in which the whole sweep has run in local processes."""
    place = make_place(tmp_path_factory.mktemp("fleet"))
    ask_for_all(place)
    finish(start_sweep(place, "--out", "local"), place / "local")
    return place


@pytest.fixture
def cluster(monkeypatch):
    """A Ray cluster on this machine alone, as an address."""
    ray = pytest.importorskip("ray", reason="the extra fleet is not installed")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    started = ray.init(
        num_cpus=2, include_dashboard=False, object_store_memory=100 * 2**20, log_to_driver=False, logging_level="error"
    )
    yield started.address_info["gcs_address"]
    ray.shutdown()


def test_one_table_has_every_model_budget_and_profile(filled):
    rows = list(csv.DictReader((filled / "local" / "fleet.csv").open()))
    assert [(row["model"], row["profile"], row["budget"]) for row in rows] == [
        (model, engine, budget) for model in ("models:one", "second") for engine in ENGINES for budget in ("1.3x", "2x")
    ]
    for row in rows:
        assert float(row["speed_efficiency"]) == pytest.approx(float(row["speedup"]) / float(row["mac_reduction"]))
        assert float(row["low_ms"]) <= float(row["latency_ms"]) <= float(row["high_ms"])
        assert row["measured_at"].endswith("+00:00") and (filled / "local" / row["folder"] / "model.onnx").exists()


def test_on_ray_a_killed_worker_loses_nothing_and_the_plans_are_the_same(filled, cluster):
    ask_for_all(filled)
    sweep = start_sweep(filled, "--ray", cluster, "--out", "on_ray")
    job = filled / "on_ray" / "models_one" / "onnxruntime"
    wait_for((job / ".1.3x.draft").exists)  # it searches and measures
    killed = int((job / ".lock").read_text())
    os.kill(killed, signal.SIGKILL)
    finish(sweep, filled / "on_ray")
    assert plans(filled / "on_ray") == plans(filled / "local")
    assert int((job / ".lock").read_text()) != killed
    log = job.with_name("onnxruntime.log").read_text()
    assert log.count("dense ") == 2 and "unchanged, skipped" in log  # given again, it went on behind what was done
    assert len(list(csv.DictReader((filled / "on_ray" / "fleet.csv").open()))) == 8


def test_one_plan_keeps_the_budget_under_both_profiles(filled):
    write_sweep(filled, one_plan=True, profiles=[f"{engine}.yaml" for engine in ENGINES])
    finish(start_sweep(filled, "--out", "together"), filled / "together")
    one, two = json.loads((filled / "together" / "fleet.json").read_text())["rows"]
    assert [row["device"]["profile"] for row in (one, two)] == list(ENGINES)
    assert one["folder"] == two["folder"] and one["pruned"]["params"] == two["pruned"]["params"]
    folder = filled / "together" / one["folder"]
    for row in (one, two):  # each has its own figures
        assert row["pruned"]["speed_efficiency"] == pytest.approx(
            row["pruned"]["speedup"]["value"] / row["pruned"]["mac_reduction"]
        )
        assert row["budget_ms"] == pytest.approx(row["dense_ms"] / 1.5)
    rounds = json.loads((folder / "rounds.json").read_text())
    assert all([time["profile"] for time in one["also"]] == ["openvino"] for one in rounds)
    assert "1.5x under openvino: " in (folder / "report.md").read_text()


def test_two_sweeps_at_once_wait_for_each_other(filled):
    """While this process holds the machine neither measures; then one does after the other, by the same lock."""
    write_sweep(filled)
    with held_machine():
        sweeps = [start_sweep(filled, "--out", name) for name in ("left", "right")]
        jobs = [filled / name / "models_one" / "onnxruntime" for name in ("left", "right")]
        wait_for(lambda: all((job / ".dense.draft" / "count.json").exists() for job in jobs))
        time.sleep(1)
        assert not any((job / ".dense.draft" / "timing.json").exists() for job in jobs)
    workers, held = {int((job / ".lock").read_text()) for job in jobs}, set()
    while any(sweep.poll() is None for sweep in sweeps):
        held.add(int(lock_path().read_text() or 0))
        time.sleep(0.01)
    assert workers <= held
    for sweep, name in zip(sweeps, ("left", "right"), strict=True):
        finish(sweep, filled / name)
    assert all((job / "front" / "front.json").exists() for job in jobs)
