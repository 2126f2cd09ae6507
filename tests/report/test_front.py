"""A front's JSON, tables and pictures."""

import csv
import dataclasses
import io

import pytest
from rich.console import Console

from deploy_prune.errors import InputError
from deploy_prune.report.front import DensePoint, Front, FrontPoint, PhaseTime, PrunedPoint, read_front, read_point
from deploy_prune.report.front_plots import BUDGET_PLOTS, FRONT_PLOTS, draw_budget_plots, draw_front_plots
from deploy_prune.report.front_table import budget_line, budget_page, front_csv, front_page, front_table
from deploy_prune.report.result import LatencySummary, MetricValue, ProfileName, Round, Speedup, Width

# Values chosen so that every printed figure can be worked out by hand; no run had them.
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
    rounds=(Round(4.5, 4.4, 5.0, 0.1, True, 0.3, None, False), Round(4.6, 4.8, 5.0, 0.1, False, 0.25, 0.24, True)),
    widths=(Width("conv", 64, 32),),
)
MET = FrontPoint("5ms", 5.0, PRUNED, spent=(PhaseTime("solving", 1.0), PhaseTime("measuring", 9.0)), folder="5ms")
MISSED = FrontPoint("2.6x", 4.6, PRUNED)
UNREACHABLE = FrontPoint("9x", 1.33, None, 2.5, "the budget of 1.333 ms is unreachable")
FRONT = Front(
    schema=1,
    model="net",
    profile=ProfileName("cpu-onnxruntime", "0123456789ab"),
    conditions={"threads": 1, "governor": None},
    loss_name="share of importance removed",
    dense=DensePoint(LatencySummary(12, 13, 14, 0.5, 100), 4_000_000, 3_000, 4096),
    points=(MET, MISSED, UNREACHABLE),
    spent=(PhaseTime("profiling", 100.0),),
)


def with_metric(front):
    points = [dataclasses.replace(MET, pruned=dataclasses.replace(PRUNED, metric=MetricValue("mAP", 0.58)))]
    dense = dataclasses.replace(front.dense, metric=MetricValue("mAP", 0.6))
    return dataclasses.replace(front, dense=dense, points=(*points, UNREACHABLE))


def test_a_budget_is_met_when_the_measured_latency_keeps_it():
    assert (MET.share, MET.met) == (pytest.approx(0.96), True)
    assert (MISSED.met, UNREACHABLE.met, UNREACHABLE.share) == (False, False, None)
    assert MET.seconds == 10 and not FRONT.met and dataclasses.replace(FRONT, points=(MET,)).met


def test_json_reads_back_equal(tmp_path):
    (tmp_path / "front.json").write_text(FRONT.to_json())
    assert read_front(tmp_path / "front.json") == FRONT
    for point in FRONT.points:
        (tmp_path / "report.json").write_text(point.to_json())
        assert read_point(tmp_path / "report.json") == point


def test_what_is_no_front_is_refused(tmp_path):
    path = tmp_path / "front.json"
    with pytest.raises(InputError, match=r"front\.json cannot be read: No such file"):
        read_front(path)
    path.write_text(FRONT.to_json().replace('"schema": 1', '"schema": 7'))
    with pytest.raises(InputError, match=r"is no front of schema 1: schema: Input should be 1; make it again"):
        read_front(path)


def test_csv_has_a_line_per_budget_and_nothing_where_nothing_is_known():
    met, missed, unreachable = csv.DictReader(io.StringIO(front_csv(FRONT)))
    assert (met["asked"], met["met"], met["measured_ms"], met["speed_efficiency"]) == ("5ms", "True", "4.8", "0.625")
    assert (met["loss"], met["rounds"], met["duration_s"], met["fastest_ms"]) == ("0.25", "2", "10.0", "")
    assert (missed["met"], unreachable["met"]) == ("False", "False")
    assert (unreachable["measured_ms"], unreachable["fastest_ms"]) == ("", "2.5")
    assert unreachable["reason"] == "the budget of 1.333 ms is unreachable"


def test_the_page_has_every_figure_and_where_the_time_went():
    page = front_page(FRONT)
    for line in (
        "| dense |  |  | 12.0 ms |  |  |  |  |  | 3.00 k | 0 |  |  |",
        "| 5ms | 5.00 ms | 4.60 ms | 4.80 ms | 4.70 to 4.90 | 96.0% | 2.50× | 4.00× | 0.62 | 1.00 k | 0.25 | 2 | 10 s |",  # noqa: E501
        "| 9x | 1.33 ms | ≥ 2.50 ms | unreachable |  |  |  |  |  |  |  |  | 0 s |",
        "| seconds | once | 5ms | 2.6x | 9x |",
        "| profiling | 100.0 |  |  |  |",
        "| measuring |  | 9.0 |  |  |",
        "| all | 100.0 | 10.0 | 0.0 | 0.0 |",
        "| governor | not told by this machine |",
    ):
        assert line in page.splitlines()
    assert "104.3% NOT met" in page and "Loss: share of importance removed." in page
    assert all(name in page for name in FRONT_PLOTS)


@pytest.mark.parametrize(("columns", "figures"), [(200, 13), (80, 8)])
def test_the_terminal_gets_as_many_figures_as_fit(columns, figures):
    assert len(front_table(FRONT, columns).columns) == figures
    console = Console(width=columns, record=True, file=io.StringIO())
    console.print(front_table(FRONT, columns))
    text = console.export_text()
    assert all(part in text for part in ("4.80 ms", "96.0%", "2.50×", "4.00×", "unreachable"))


def test_with_a_metric_the_front_is_over_it():
    page = front_page(with_metric(FRONT))
    assert "latency against mAP" in page and "| 0.5800 | 2 | 10 s |" in page and "Loss:" not in page


def test_the_page_of_a_budget():
    page = budget_page("net", MET)
    assert budget_line(MET) == "5ms: met, 4.80 ms of 5.00 ms allowed (96.0%), 2.50× speed-up, 2 rounds"
    assert budget_line(MET) in page and "| 2 | 4.60 ms | 4.80 ms | 5.00 ms |" in page and "| conv | 64 | 32 |" in page
    assert all(name in page for name in BUDGET_PLOTS)
    assert "9x, 1.33 ms allowed: the budget of 1.333 ms is unreachable" in budget_page("net", UNREACHABLE)


@pytest.mark.parametrize("front", [FRONT, with_metric(FRONT), dataclasses.replace(FRONT, points=(UNREACHABLE,))])
def test_pictures_are_written(tmp_path, front):
    paths = [*draw_front_plots(front, tmp_path), *draw_budget_plots(PRUNED, tmp_path)]
    assert {path.name for path in paths} == {*FRONT_PLOTS, *BUDGET_PLOTS}
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)
