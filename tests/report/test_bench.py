"""The table of `bench`: one for all profiles, ratios within each only. Values were made up to be read off."""

import csv
import io
import json

from rich.console import Console

from deploy_prune.report.bench import NO_RATIO, BenchEntry, BenchResult, ProfileResult
from deploy_prune.report.result import LatencySummary, Speedup


def entry(model, median, speedup=None):
    return BenchEntry(model, LatencySummary(median, 11, 12, 0.5, 3), speedup, "interval", (median, 9.0, 11.0))


SLOW = ProfileResult(
    "one",
    {"profile": "one", "engine": "onnxruntime", "governor": None, "threads": 1, "contention.other_cores": 1.5},
    (entry("a.onnx", 10.0), entry("b.onnx", 4.0, Speedup(2.5, 2.4, 2.6, "faster"))),
    0.0123,
    ("other processes used 1.5 cores",),
)
OTHER = ProfileResult("two", {"profile": "two", "engine": "openvino"}, (entry("a.onnx", 8.0),), None, ())


def test_markdown():
    assert BenchResult((SLOW, OTHER)).to_markdown() == (
        "| profile | model | median | p90 | p99 | IQR | n | speed-up | 95 % interval | verdict |\n"
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |\n"
        "| one | a.onnx | 10.0 ms | 11.0 ms | 12.0 ms | 0.50 ms | 3 | 1 (baseline) |  |  |\n"
        "| one | b.onnx | 4.00 ms | 11.0 ms | 12.0 ms | 0.50 ms | 3 | 2.50× | 2.40 to 2.60 | faster |\n"
        "| two | a.onnx | 8.00 ms | 11.0 ms | 12.0 ms | 0.50 ms | 3 | 1 (baseline) |  |  |\n"
        "\n"
        "one: engine onnxruntime, threads 1\n"
        "Noise floor: 1.2%, the first model against itself.\n"
        "Disturbed: other processes used 1.5 cores.\n"
        "\n"
        "two: engine openvino\n"
        "\n"
        f"{NO_RATIO}\n"
    )


def test_csv_has_plain_numbers_and_the_disturbances():
    rows = list(csv.DictReader(io.StringIO(BenchResult((SLOW, OTHER)).to_csv())))
    assert [(row["profile"], row["model"], row["median_ms"], row["speedup"], row["verdict"]) for row in rows] == [
        ("one", "a.onnx", "10.0", "", ""),
        ("one", "b.onnx", "4.0", "2.5", "faster"),
        ("two", "a.onnx", "8.0", "", ""),
    ]
    assert [row["disturbances"] for row in rows] == ["other processes used 1.5 cores"] * 2 + [""]


def test_json_keeps_the_raw_samples():
    (one,) = json.loads(BenchResult((SLOW,)).to_json())["profiles"]
    assert one["entries"][0]["samples_ms"] == [10.0, 9.0, 11.0]
    assert one["entries"][1]["stop_reason"] == "interval" and one["conditions"]["contention.other_cores"] == 1.5


def test_one_profile_needs_no_warning_about_ratios(tmp_path):
    with (tmp_path / "out").open("w") as file:
        console = Console(width=200, record=True, file=file)
        console.print(BenchResult((SLOW,)).to_table())
    text = console.export_text()
    assert "2.50×" in text and "Disturbed: other processes used 1.5 cores." in text
    assert NO_RATIO[:20] not in text and NO_RATIO not in BenchResult((OTHER,)).to_markdown()


def test_readings_are_shown_below_the_conditions():
    seen = {"clock_hz": (1_410_000_000, 1_980_000_000), "memory_clock_hz": (None, None), "power_w": (210.5, 249.0),
            "temperature_c": (61, 84), "slowed_by": ()}  # fmt: skip
    gpu = {f"contention.gpu.{name}": value for name, value in seen.items()}
    conditions = {"profile": "one", "engine": "torch", "contention.temperature_c": (40.4, 51.6)}
    cpu = ProfileResult("one", conditions, (entry("a.onnx", 8.0),), None, ())
    card = ProfileResult("one", {**conditions, **gpu}, (entry("a.onnx", 8.0),), None, ())
    assert cpu.conditions_line() == "engine torch\nMeanwhile: 40 to 52 °C."
    on_gpu = "of the GPU 61 to 84 °C, 210.5 to 249.0 W, 1.41 to 1.98 GHz"
    assert card.conditions_line() == f"engine torch\nMeanwhile: 40 to 52 °C, {on_gpu}."
