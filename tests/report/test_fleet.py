"""The table of a fleet. Values were made up so that every figure can be worked out by hand."""

import csv
import dataclasses
import io
import json

from deploy_prune.report.fleet import FailedJob, Fleet, fleet_rows
from deploy_prune.report.front import DensePoint, Front, FrontPoint, FurtherDevice, FurtherLatency, PrunedPoint
from deploy_prune.report.result import LatencySummary, MetricValue, ProfileName, Speedup

PRUNED = PrunedPoint(
    latency_ms=4.8,
    low_ms=4.7,
    high_ms=4.9,
    predicted_ms=4.6,
    speedup=Speedup(2.5, 2.45, 2.55, "faster"),
    samples=LatencySummary(4.9, 5, 6, 0.2, 120),
    macs=1_000_000,
    params=1_000,
    size_bytes=1024,
    mac_reduction=4.0,
    speed_efficiency=0.625,
    loss=0.25,
    rounds=(),
    widths=(),
)
POINT = FrontPoint("2.4x", 5.0, PRUNED, folder="2.4x", measured_at="2026-11-25T18:00:00+00:00")
UNREACHABLE = FrontPoint("20x", 0.6, None, 2.5, "the budget of 0.600 ms is unreachable")
FRONT = Front(
    schema=1,
    model="net",
    profile=ProfileName("here", "0123456789ab"),
    conditions={"processor": "CPU 1", "engine": "onnxruntime", "engine_version": "1.32", "precision": "fp32"},
    loss_name="importance removed",
    dense=DensePoint(LatencySummary(12, 13, 14, 0.5, 100), 4_000_000, 3_000, 4096),
    points=(POINT, UNREACHABLE),
)
THERE = FurtherDevice(
    ProfileName("there", "ba9876543210"), {"processor": "CPU 2", "engine": "openvino", "precision": "bf16"}, 48.0
)
SLOWER = FurtherLatency("there", 20.0, 24.0, 23.0, 25.0, 19.0, Speedup(2.0, 1.9, 2.1, "faster"))


def lines(fleet):
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in fleet.to_markdown().splitlines()[2:]]


def test_a_row_per_budget_with_what_it_took_and_when():
    fleet = Fleet(fleet_rows(FRONT, "my net", "net/here"))
    assert lines(fleet)[:2] == [
        ["CPU 1", "here", "fp32", "my net", "2.4x", "12.0 ms", "5.00 ms", "4.80 ms", "4.70 to 4.90", "96.0%", "2.50×",
         "4.00×", "0.62", "loss 0.25", "yes", "2026-11-25 18:00:00"],
        ["CPU 1", "here", "fp32", "my net", "20x", "12.0 ms", "0.60 ms", "unreachable", *[""] * 6, "NO", ""],
    ]  # fmt: skip
    assert "my net at 20x on here: the budget of 0.600 ms is unreachable" in fleet.notes()
    assert fleet.rows[0].folder == "net/here/2.4x" and fleet.rows[0].device.engine == "onnxruntime 1.32"
    assert not fleet.met and Fleet(fleet.rows[:1]).met


def test_one_plan_has_a_row_per_device_with_its_own_figures():
    """On the second device: dense 48 ms, 2.0 times as fast, a quarter of the MACs: efficiency 0.5, and 24 > 20 ms."""
    point = dataclasses.replace(POINT, also=(SLOWER,))
    rows = fleet_rows(dataclasses.replace(FRONT, points=(point, UNREACHABLE), also=(THERE,)), "net", "net/one_plan")
    assert [(row.device.profile, row.budget, row.met) for row in rows] == [
        ("here", "2.4x", True), ("here", "20x", False), ("there", "2.4x", False), ("there", "20x", False)
    ]  # fmt: skip
    further = rows[2]
    assert (further.dense_ms, further.budget_ms, further.pruned.latency_ms) == (48.0, 20.0, 24.0)
    assert (further.pruned.speed_efficiency, further.pruned.params) == (0.5, 1_000)
    assert (further.device.processor, further.device.precision) == ("CPU 2", "bf16")
    assert rows[3].budget_ms == 48.0 / 20 and rows[3].pruned is None
    assert not point.met and point.met_here


def test_a_recipe_has_a_metric_in_place_of_the_loss():
    scored = dataclasses.replace(POINT, pruned=dataclasses.replace(PRUNED, metric=MetricValue("mAP50-95", 0.58)))
    fleet = Fleet(fleet_rows(dataclasses.replace(FRONT, points=(scored,)), "net", "net"))
    assert lines(fleet)[0][13] == "mAP50-95 0.5800"
    assert not any(note.startswith("Loss:") for note in fleet.notes())


def test_csv_and_json_have_plain_numbers():
    fleet = Fleet(fleet_rows(FRONT, "net", "net"), (FailedJob("net on pi", "it is off"),))
    reached, missed = csv.DictReader(io.StringIO(fleet.to_csv()))
    assert (reached["profile"], reached["latency_ms"], reached["speedup"], reached["low"]) == (
        "here",
        "4.8",
        "2.5",
        "2.45",
    )
    assert (reached["met"], reached["measured_at"]) == ("True", "2026-11-25T18:00:00+00:00")
    assert (missed["latency_ms"], missed["verdict"], missed["met"]) == ("", "", "False")
    read = json.loads(fleet.to_json())
    assert read["schema"] == 1 and read["failed"] == [{"name": "net on pi", "problem": "it is off"}]
    assert read["rows"][0]["pruned"]["speedup"]["value"] == 2.5 and read["rows"][1]["pruned"] is None


def test_a_failed_job_is_told_and_no_budget_counts_as_met():
    fleet = Fleet(fleet_rows(FRONT, "net", "net")[:1], (FailedJob("net on pi", "it is off"),))
    assert fleet.notes()[0] == "Failed: net on pi: it is off" and not fleet.met
