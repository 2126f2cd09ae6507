"""An artifact of several files: float and integers, two engines, and one that nothing here runs."""

import dataclasses
import json

import pytest
from artifact.made import REPORT, run_python, verify

from deploy_prune.artifact.manifest import Interval, Latency, Measured, read_manifest
from deploy_prune.datasets import write_digits
from deploy_prune.export.int8 import quantise_static
from deploy_prune.pipeline.artifact import Deliverable, assemble
from deploy_prune.pruner.plan import Plan
from deploy_prune.report.result import read_result
from deploy_prune.tasks.classification import ClassificationTask

ROW = Measured(
    model="model_int8.onnx",
    engine="onnxruntime",
    precision="int8",
    latency_ms=Latency(median=0.5),
    speedup=Interval(over="model.onnx", value=2.0, low=1.9, high=2.1, verdict="faster"),
    macs=2_000_000,
    params=1_000,
    size_bytes=2**20,
)  # no run had these


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    openvino = pytest.importorskip("openvino")
    folder = tmp_path_factory.mktemp("several")
    data = write_digits("digits", folder / "data", train=10, val=10, image_size=32)
    task = ClassificationTask(data, "torchvision/mobilenet_v3_small", image_size=32)
    onnx = task.export_onnx(task.build(), folder / "net.onnx")
    quantise_static(onnx, folder / "net_int8.onnx", task.calibration_inputs(4))
    openvino.save_model(openvino.convert_model(str(onnx)), folder / "net.xml", compress_to_fp16=False)
    (folder / "net.engine").write_bytes(b"plan")
    Plan({}, (), (), "none").save(folder / "plan.json")
    models = [
        Deliverable(onnx, "model.onnx"),
        Deliverable(folder / "net_int8.onnx", "model_int8.onnx", precision="int8", measured=(ROW,)),
        Deliverable(folder / "net.xml", "model.xml", "openvino", beside={"model.bin": folder / "net.bin"}),
        Deliverable(folder / "net.engine", "model.engine", "tensorrt", "fp16"),
    ]
    out = folder / "artifact"
    out.mkdir()
    result = dataclasses.replace(read_result(REPORT), task="classify", model="net")
    assemble(models, folder / "plan.json", task.usage(4), result, out)
    return out


def test_each_model_has_its_own_entry_and_row(artifact):
    manifest = read_manifest(artifact)
    told = [(one.file, one.beside, one.engine, one.precision, one.expected) for one in manifest.models]
    assert told == [
        ("model.onnx", (), "onnxruntime", "fp32", "expected/model.onnx.npz"),
        ("model_int8.onnx", (), "onnxruntime", "int8", "expected/model_int8.onnx.npz"),
        ("model.xml", ("model.bin",), "openvino", "fp32", "expected/model.xml.npz"),
        ("model.engine", (), "tensorrt", "fp16", None),
    ]
    assert [one.tolerance for one in manifest.models] == [1e-3, 0.1, 1e-3, 2e-2]
    assert [one.model for one in manifest.measured] == ["dense", "model.onnx", "model_int8.onnx"]
    assert manifest.measured[1].speedup.over == "dense" and manifest.measured[2] == ROW
    assert "model.bin" in manifest.files
    readme = (artifact / "README.md").read_text()
    assert "| model_int8.onnx | onnxruntime, int8 | 0.500 ms |  |  | 2.00 (1.90 to 2.10) over model.onnx |  |" in readme
    assert "| `model.xml`, `model.bin` | openvino | fp32 |" in readme
    assert "pip install onnxruntime openvino numpy pillow" in readme


def test_those_that_can_run_are_checked(artifact):
    done = verify(artifact)
    assert (done.returncode, done.stderr) == (0, "")
    first, second = done.stdout.splitlines()
    assert first == "not run: model.engine is for tensorrt, which this code does not run; only its checksum is right"
    assert second.endswith("files, checksums and outputs are as the run wrote them")
    own = run_python(artifact / "infer.py", "--check").stdout.splitlines()
    assert own[0] == "not run: model.engine is for tensorrt, which this code does not run"
    assert [line.partition(",")[0] for line in own[1:]] == [
        f"{name}: 4 samples give the expected outputs" for name in ("model.onnx", "model_int8.onnx", "model.xml")
    ]


def test_a_model_is_chosen_by_its_file(artifact):
    picture = artifact / "samples" / "00.png"
    answers = [
        json.loads(run_python(artifact / "infer.py", "--model", name, picture).stdout)
        for name in ("model.onnx", "model.xml")
    ]
    assert answers[0]["score"] == pytest.approx(answers[1]["score"], abs=1e-4)
    refused = run_python(artifact / "infer.py", "--model", "model.engine", picture)
    assert refused.returncode == 2
    assert refused.stderr == "error: model.engine is for tensorrt, which this code does not run\n"


def test_a_lost_weights_file_is_named(artifact):
    weights = artifact / "model.bin"
    weights.rename(artifact.parent / "model.bin")
    done = verify(artifact)
    (artifact.parent / "model.bin").rename(weights)
    assert (done.returncode, done.stderr) == (1, "fault: model.bin is missing\n")
