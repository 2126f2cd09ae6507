"""The result's JSON, its words and its pictures."""

import dataclasses
import json
import subprocess
import sys

import pytest
from report.explanation import ACCOUNT, EXPLANATION, FLOOR
from rich.console import Console

from deploy_prune.errors import InputError
from deploy_prune.report.advice import advise
from deploy_prune.report.alternatives import Alternative
from deploy_prune.report.page import write_page
from deploy_prune.report.plots import PLOTS, draw_plots
from deploy_prune.report.result import (
    Artifact,
    BudgetOutcome,
    FrozenChannels,
    LatencySummary,
    LayerTime,
    LimitOutcome,
    MetricStep,
    MetricValue,
    ParityCheck,
    ProfileName,
    RecoveryStep,
    Result,
    Round,
    Speedup,
    Subject,
    Width,
    read_result,
)
from deploy_prune.report.table import result_rows, result_table, summary_lines

# Values chosen so that every printed figure can be worked out by hand; no run had them.
RESULT = Result(
    schema=1,
    model="net.yaml",
    task="detect",
    profile=ProfileName("cpu-onnxruntime", "0123456789ab"),
    conditions={"threads": 1, "engine": "onnxruntime"},
    disturbances=(),
    budget=BudgetOutcome(latency_ms=5.0, speedup=2.0, share=0.96, met=True),
    dense=Subject(LatencySummary(10, 11, 12, 0.5, 100), 4_000_000, 3_000, 4096, MetricValue("mAP", 0.6)),
    pruned=Subject(LatencySummary(4.8, 5, 5.5, 0.2, 120), 1_000_000, 1_000, 1024, MetricValue("mAP", 0.58)),
    speedup=Speedup(2.08, 2.05, 2.11, "faster"),
    mac_reduction=4.0,
    speed_efficiency=0.52,
    metric_loss=0.02,
    rounds=(
        Round(5.2, 4.7, 5.0, 0.1, False, 0.3, None, False),
        Round(4.9, 4.8, 5.0, 0.2, True, 0.25, 0.24, True),
    ),
    artifacts=(Artifact("onnx", "export/net.onnx", "ab" * 32),),
    frozen=(FrozenChannels("head", "reaches the model's output | at Conv"),),
    widths=tuple(Width(f"block.{i}.conv", 64, 16 + 8 * (i % 6)) for i in range(30)),
    layers=tuple(LayerTime(f"block.{i}.conv", 0.2 + 0.01 * i, 0.1 + 0.004 * i) for i in range(30)),
    metric_steps=(MetricStep("baseline", "pytorch", "mAP", 0.6), MetricStep("export", "onnx", "mAP", 0.58)),
    parity=ParityCheck(1e-5, 1e-7, 8),
    limits=(),
    explanation=EXPLANATION,
    account=ACCOUNT,
    advice=advise(5.0, EXPLANATION, FLOOR),
    alternatives=(Alternative("dense, INT8 static", "int8", 4.0, 2.5, 2.4, 2.6, True, 0.6, "64 of 90 nodes in INT8"),),
    recovery=(
        RecoveryStep("batch norm statistics", 3.0, 3.5, False, 0, 0),
        RecoveryStep("least squares", 3.0, 2.25, True, 7, 9),
    ),
)  # fmt: skip

LATENCY = {"median", "p90", "p99", "iqr", "n"}
SUBJECT = {
    "latency_ms": LATENCY,
    "macs": None,
    "params": None,
    "size_bytes": None,
    "metric": {"name", "value"},
}
REQUIRED = {
    "schema": None,
    "model": None,
    "task": None,
    "profile": {"name", "fingerprint"},
    "conditions": None,
    "budget": {"latency_ms", "met"},
    "dense": SUBJECT,
    "pruned": SUBJECT,
    "speedup": {"value", "low", "high", "verdict"},
    "mac_reduction": None,
    "speed_efficiency": None,
    "rounds": [{"predicted_ms", "measured_ms"}],
    "artifacts": [{"kind", "path", "sha256"}],
    "frozen": [{"name", "reason"}],
}


def missing_keys(required, found, where=""):
    if isinstance(required, list):
        return [key for item in found for key in missing_keys(required[0], item, where)]
    absent = [where + key for key in required or () if key not in found]
    if isinstance(required, dict):
        absent += [k for key, inner in required.items() if inner for k in missing_keys(inner, found[key], key + ".")]
    return absent


def test_report_json_has_every_key_of_the_schema():
    assert missing_keys(REQUIRED, json.loads(RESULT.to_json())) == []


def test_report_json_reads_back_equal(tmp_path):
    (tmp_path / "report.json").write_text(RESULT.to_json())
    assert read_result(tmp_path / "report.json") == RESULT


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.pop("speedup"), "speedup: Field required"),
        (lambda d: d["dense"].update(macs="many"), "dense.macs: Input should be a valid integer"),
        (lambda d: d.update(schema=2), "schema: Input should be 1"),
    ],
)
def test_another_schema_is_refused_with_the_place(tmp_path, change, message):
    content = json.loads(RESULT.to_json())
    change(content)
    (tmp_path / "report.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=message):
        read_result(tmp_path / "report.json")


def test_a_missing_report_is_one_line(tmp_path):
    with pytest.raises(InputError, match=r"report .*report\.json cannot be read: No such file or directory"):
        read_result(tmp_path / "report.json")


def test_the_table_says_what_was_gained_and_what_it_cost():
    rows = {row.what: (row.dense, row.pruned, row.change) for row in result_rows(RESULT)}
    assert rows == {
        "latency, median": ("10.0 ms", "4.80 ms", "2.08× speed-up"),
        "latency, p90": ("11.0 ms", "5.00 ms", "95 %: 2.05 to 2.11, faster"),
        "latency, p99": ("12.0 ms", "5.50 ms", ""),
        "latency, IQR": ("0.50 ms", "0.20 ms", ""),
        "samples": ("100", "120", ""),
        "MACs": ("4.00 M", "1.00 M", "4.00× fewer"),
        "parameters": ("3.00 k", "1.00 k", ""),
        "ONNX file": ("4.00 KiB", "1.00 KiB", ""),
        "mAP, ONNX file": ("0.6000", "0.5800", "loss +0.0200"),
    }


def test_the_sentences_give_budget_and_efficiency():
    missed = dataclasses.replace(RESULT, budget=BudgetOutcome(4.0, None, 1.2, False))
    assert summary_lines(RESULT) == (
        "Budget 5.00 ms (2.00× speed-up asked for): met, the pruned model takes 96.0% of it.",
        "Speed efficiency 0.52 = 2.08× speed-up / 4.00× fewer MACs.",
    )
    disturbed = dataclasses.replace(RESULT, disturbances=("other processes used 1.5 cores",))
    assert summary_lines(disturbed)[2] == "Disturbed while measuring: other processes used 1.5 cores."
    assert summary_lines(missed)[0] == "Budget 4.00 ms: NOT met, the pruned model takes 120.0% of it."


def test_a_mac_ratio_is_never_called_a_speedup():
    page = write_page(RESULT)
    for line in page.splitlines():
        if "4.00×" in line and "speed-up" in line:
            assert line == summary_lines(RESULT)[1]


def test_the_page_shows_every_picture_round_reason_and_file():
    page = write_page(RESULT)
    for text in (
        *PLOTS,
        "| 2 | 4.90 ms | 0.20 ms | 4.80 ms | yes | 5.00 ms |",
        "reaches the model's output \\| at Conv",
        "ab" * 32,
    ):
        assert text in page


def test_the_page_says_what_came_back_without_training():
    page = write_page(RESULT)
    assert "| batch norm statistics | 3 | 3.5 |  | no |" in page
    assert "| least squares | 3 | 2.25 | 7 of 9 | yes |" in page
    assert "without training" not in write_page(dataclasses.replace(RESULT, recovery=()))


def test_the_page_says_why_and_what_else():
    page = write_page(RESULT)
    for text in (
        "took 7.30 ms and take 2.92 ms, 2.50 times faster",
        "| block.19 | 0.390 → 0.100 |",
        "No widths are predicted to take less than 3.500 ms",
        "(the floor is above 60% of the budget: 70%)",
        "| dense, INT8 static | 4.00 ms | 2.50× | 2.40 to 2.60 | met | 0.6000 | 64 of 90 nodes in INT8 |",
        "Best at this budget: dense, INT8 static, 0.6000 at 4.00 ms.",
        "Of 2 measured plans 1 lay inside the prediction's 95 % interval; the largest error was 10.6%.",
        "| Conv | 3.0% |",
        "Nodes whose sizes follow one nearly: a, b.",
    ):
        assert text in page


def test_the_terminal_table_prints_every_row():
    console = Console(width=120, record=True, quiet=False, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    console.print(result_table(RESULT))
    text = console.export_text()
    assert all(row.what in text and row.change in text for row in result_rows(RESULT))


def test_pictures_are_written(tmp_path):
    paths = draw_plots(RESULT, tmp_path)
    assert sorted(path.name for path in paths) == sorted(PLOTS)
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)


def test_without_matplotlib_the_pip_line_is_given():
    script = (
        "import sys; sys.modules['matplotlib'] = None\n"
        "from deploy_prune.report.plots import draw_plots\n"
        "try: draw_plots(None, None)\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    printed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert printed.startswith("MissingDependencyError plots need matplotlib")
    assert "pip install 'deploy_prune[report]'" in printed


def test_the_page_gives_the_gap_of_each_round():
    page = write_page(RESULT)
    assert "| 1 | 5.20 ms | 0.10 ms | 4.70 ms | no | 5.00 ms | 0.3 |  |  |" in page
    assert "| 2 | 4.90 ms | 0.20 ms | 4.80 ms | yes | 5.00 ms | 0.25 | 0.24 | 4.00 % |" in page


def test_further_limits_are_told_and_decide():
    limits = (LimitOutcome("latency under other", 4.0, 5.0, "ms"), LimitOutcome("parameters", 1.25, 1.2, "million"))
    limited = dataclasses.replace(RESULT, limits=limits)
    lines = summary_lines(limited)
    assert "Limit on latency under other: kept, 4.000 of 5.000 ms allowed." in lines
    assert "Limit on parameters: NOT kept, 1.250 of 1.200 million allowed." in lines
    assert RESULT.all_kept and not limited.all_kept
