"""Delivering a network in several formats: real files, real measurements, and what continues after a kill."""

import dataclasses
import json
import os
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
import yaml
from torch import nn

from deploy_prune.errors import InputError
from deploy_prune.export.onnx import export_onnx
from deploy_prune.hardware.profile import HardwareProfile, MeasuringLimits
from deploy_prune.pipeline.export_files import ExportSubject, export_files
from deploy_prune.pipeline.export_request import ExportRequest
from deploy_prune.pipeline.recipe_sections import ExportRecipe
from deploy_prune.report.exports import remarks

for package in ("onnxruntime", "openvino", "nncf", "pnnx", "ncnn"):
    pytest.importorskip(package)

BRIEF = MeasuringLimits(
    warm_up_runs=2, warm_up_max_s=0.2, min_runs=10, min_s=0.0, max_s=0.4, ci_width=0.05, pairs=2, repeats=0
)
QUICK = HardwareProfile(name="quick", engine="onnxruntime", measuring=BRIEF)
INPUTS = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def network():
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 32, 3), nn.ReLU(), nn.Conv2d(32, 32, 3), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 5)).eval()


def export(model, path, *, simplify=True, dynamic=False):
    return export_onnx(model, INPUTS[:1], path, simplify=simplify, dynamic=dynamic)


SUBJECT = ExportSubject("net", network(), INPUTS, export, QUICK, calibration=INPUTS)


def test_every_format_and_precision_is_written_compared_and_timed(tmp_path):
    floats = export_files(SUBJECT, ExportRequest(("onnx", "openvino", "pt2", "ncnn")), tmp_path)
    files = export_files(SUBJECT, ExportRequest(("onnx", "openvino"), ("fp16", "int8")), tmp_path)
    assert [(one.format, one.precision) for one in floats] == [
        ("onnx", "fp32"), ("openvino", "fp32"), ("pt2", "fp32"), ("ncnn", "fp32"),
    ]  # fmt: skip
    assert all(one.difference < 1e-5 for one in floats)
    assert [one.latency_ms is None for one in floats] == [False, False, False, True]
    by_kind = {(one.format, one.precision): one for one in files}
    assert list(by_kind) == [(name, p) for name in ("onnx", "openvino") for p in ("fp32", "fp16", "int8")]
    assert by_kind["onnx", "fp32"] == floats[0]  # not made again
    assert all(0 < one.difference < 0.2 for one in files if one.precision != "fp32")
    assert all(one.speedup and one.low < one.speedup < one.high for one in files if one.precision != "fp32")
    assert by_kind["onnx", "int8"].how.startswith("u8s8, ") and "2 QLinearConv" in by_kind["onnx", "int8"].kernels
    assert by_kind["openvino", "int8"].kernels.startswith("2 of 3 convolutions and products in INT8")
    told = json.loads((tmp_path / "exports.json").read_text())["files"]
    assert len(told) == 8 and told[0]["remarks"] == remarks(floats[0], floats)
    assert {one["path"] for one in told} <= {path.name for path in tmp_path.iterdir()}
    assert "| onnx | int8 | net_int8.onnx |" in (tmp_path / "exports.md").read_text()


def test_a_file_that_was_changed_is_made_again(tmp_path):
    (first,) = export_files(SUBJECT, ExportRequest(), tmp_path)
    made = (tmp_path / first.path).stat().st_mtime_ns
    export_files(SUBJECT, ExportRequest(), tmp_path)
    assert (tmp_path / first.path).stat().st_mtime_ns == made
    (tmp_path / first.path).write_bytes(b"damaged")
    (again,) = export_files(SUBJECT, ExportRequest(), tmp_path)
    assert again.sha256 == first.sha256 and (tmp_path / first.path).stat().st_size == first.size_bytes
    other = dataclasses.replace(SUBJECT, model=nn.Sequential(nn.Conv2d(3, 2, 3)).eval())
    assert export_files(other, ExportRequest(), tmp_path)[0].sha256 != first.sha256


def test_open_axes_are_given_their_size_when_timed(tmp_path):
    (found,) = export_files(SUBJECT, ExportRequest(dynamic=True), tmp_path)
    assert found.difference < 1e-5 and found.latency_ms is not None
    files = export_files(SUBJECT, ExportRequest(("onnx",), ("int8",), dynamic=True), tmp_path)
    assert "2 QLinearConv" in files[1].kernels


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"formats": ("onxx",)}, "unknown format 'onxx'; expected onnx, openvino, pt2, ncnn"),
        ({"precisions": ("int4",)}, "unknown precision 'int4'; expected fp32, fp16, int8"),
        ({"formats": ("pt2",), "precisions": ("int8",)}, "pt2 files come in fp32, not in int8; leave one of them out"),
        ({"dynamic": True, "nms": True}, "leave dynamic or nms out"),
    ],
)
def test_what_cannot_be_had_is_one_line(settings, reason):
    with pytest.raises(InputError, match=reason):
        ExportRequest(**settings)


def test_int8_needs_real_inputs(tmp_path):
    subject = dataclasses.replace(SUBJECT, calibration=None)
    with pytest.raises(InputError, match="INT8 needs real inputs to find its ranges: give --data, or leave int8 out"):
        export_files(subject, ExportRequest(precisions=("int8",)), tmp_path)
    assert (tmp_path / "net.onnx").exists()  # what was finished stays


def test_a_recipe_asks_as_ultralytics_users_do():
    assert not ExportRecipe().asks_more and not ExportRecipe(parity_images=2).asks_more
    recipe = ExportRecipe.model_validate({"format": "onnx, openvino", "half": True, "int8": True, "nms": True})
    assert recipe.asks_more
    assert ExportRequest.of(recipe) == ExportRequest(("onnx", "openvino"), ("fp32", "fp16", "int8"), nms=True)
    assert ExportRecipe(format=["ncnn"]).format == ("ncnn",)


def command(tmp_path, *arguments):
    (tmp_path / "own.py").write_text(
        "import torch\nfrom torch import nn\n\ndef build():\n"
        "    convs = nn.Conv2d(3, 32, 3), nn.ReLU(), nn.Conv2d(32, 32, 3)\n"
        "    net = nn.Sequential(*convs, nn.Flatten(), nn.LazyLinear(5))\n"
        "    net(torch.rand(1, 3, 32, 32))\n    return net, torch.rand(1, 3, 32, 32)\n"
    )
    (tmp_path / "quick.yaml").write_text(yaml.safe_dump(QUICK.model_dump(mode="json", include={"name", "engine"})
                                                        | {"measuring": BRIEF.model_dump()}))  # fmt: skip
    np.save(tmp_path / "real.npy", INPUTS.numpy())
    return subprocess.Popen(
        [sys.executable, "-m", "deploy_prune", "export", "own:build", "--profile", "quick.yaml", *arguments],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "COLUMNS": "240"},
    )  # fmt: skip


def test_the_command_continues_after_a_kill(tmp_path):
    arguments = ("--format", "onnx,openvino", "--precision", "int8", "--data", "real.npy", "--out", "out")
    first, told = command(tmp_path, *arguments), tmp_path / "out" / "exports.json"
    while not told.exists() and first.poll() is None:
        time.sleep(0.05)
    first.kill()
    first.wait()
    kept = {row["path"]: row["sha256"] for row in json.loads(told.read_text())["files"]}
    stamps = {path: (tmp_path / "out" / path).stat().st_mtime_ns for path in kept}
    second = command(tmp_path, *arguments)
    out, err = second.communicate()
    assert second.returncode == 0, err
    assert "own_build_int8.onnx" in out and "QLinearConv" in out
    assert {path: (tmp_path / "out" / path).stat().st_mtime_ns for path in kept} == stamps
    assert len(json.loads(told.read_text())["files"]) == 4


def test_the_command_refuses_in_one_line(tmp_path):
    refused = command(tmp_path, "--format", "tflite")
    _, err = refused.communicate()
    assert refused.returncode == 2
    assert err == "error: unknown format 'tflite'; expected onnx, openvino, pt2, ncnn\n"
