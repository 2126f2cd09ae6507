"""What is said of delivered files, worked out by hand."""

import dataclasses

from deploy_prune.report.exports import ExportedFile, export_rows, exports_markdown, remarks

WHOLE = ExportedFile("onnx", "fp32", "net.onnx", 2**21, {"net.onnx": "0"}, 1e-6, 0.8, profile="quick", latency_ms=4.0)
INT8 = dataclasses.replace(
    WHOLE, precision="int8", path="net_int8.onnx", size_bytes=2**19, difference=0.05, metric=0.795, latency_ms=2.5,
    speedup=1.6, low=1.5, high=1.7, verdict="faster", how="u8s8, minmax, all layers", kernels="5 of 6 in INT8",
)  # fmt: skip


def said(**changes):
    return remarks(dataclasses.replace(INT8, **changes), [WHOLE])


def test_a_good_file():
    assert said() == ["u8s8, minmax, all layers", "5 of 6 in INT8", "costs 0.5 points"]
    assert said(metric=0.81)[-1] == "gains 1.0 points"
    assert remarks(WHOLE, [WHOLE]) == []


def test_slower_and_not_faster_are_told_apart():
    assert "SLOWER than FP32 here: int8 gains nothing on this machine" in said(verdict="slower")
    for verdict in ("same", "ambiguous"):
        assert "not faster than FP32 as far as can be told" in said(verdict=verdict)


def test_less_than_99_per_cent_of_the_metric_costs_too_much():
    assert said(metric=0.792)[-1] == "costs 0.8 points"  # 0.99 of 0.8
    assert said(metric=0.79)[-1] == "costs 1.0 points: TOO MUCH, less than 99% of FP32's metric is left"


def test_float_files_agree_to_half_a_point():
    assert said(precision="fp16", metric=0.796) == ["u8s8, minmax, all layers", "5 of 6 in INT8"]
    assert said(precision="fp16", metric=0.79)[-1] == "its metric differs from FP32's by 1.0 points"


def test_rows():
    assert export_rows([WHOLE, INT8])[0] == (
        "onnx", "fp32", "net.onnx", "2.00", "1.0e-06", "0.8000", "4.00 ms", "", "",
    )  # fmt: skip
    assert export_rows([WHOLE, INT8])[1][5:8] == ("0.7950", "2.50 ms", "1.60× [1.50, 1.70]")
    alone = dataclasses.replace(WHOLE, metric=None, latency_ms=None, profile=None, untimed="no engine here times it")
    assert export_rows([alone])[0][5:] == ("not judged", "not timed", "", "no engine here times it")
    page = exports_markdown([alone], None)
    assert "nothing judges the outputs" in page and "none was timed" in page
