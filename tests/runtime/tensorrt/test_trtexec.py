"""Build, time, profile and compare through a real worker process and a stand-in for trtexec.

No TensorRT is here: what these tests show is that every version gets a command line that it takes, and that files in
the documented formats become timings, layer times and comparisons. The stand-in's times can be worked out by hand.
"""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from deploy_prune.errors import InputError, MeasurementError
from deploy_prune.hardware.profile import load_profile
from deploy_prune.pipeline.device import record_key
from deploy_prune.pipeline.layer_rows import make_rows
from deploy_prune.runtime.client import BOOTSTRAP, worker_sources
from deploy_prune.runtime.measure import compare, measure, profile_nodes
from deploy_prune.runtime.runner import Runner, engine_version
from deploy_prune.runtime.timing import Timing

VERSIONS = ("8.6.1", "10.3.0", "10.13.3", "10.16.1", "11.1.0")
# Elements written by the layers of the network of width 32 at 16 pixels: two convolutions, pool, flatten, product.
WRITTEN = (32 * 256, 32 * 256, 32, 32, 10)


def expected_ms(*, reformat):
    """Of a run, by the stand-in's rule; 3 x 16 x 16 elements are converted where types are narrowed."""
    written = (3 * 256, *WRITTEN) if reformat else WRITTEN
    return sum(0.002 + 1e-6 * numel for numel in written) + 0.002  # every fifth run is as it is, the median 2 µs more


def test_all_versions_give_the_same_time(make_model, make_profile, calls):
    """Their defaults differ: without the right flags the stand-in's runs take 15 µs longer before 11."""
    for version in VERSIONS:
        old = not version.startswith("11")
        profile = make_profile(version, "fp16" if old else "fp32", "weak" if old else "strong")
        timing = measure(make_model(), profile)
        assert 1e3 * timing.median_s == pytest.approx(expected_ms(reformat=old), rel=1e-4), version
        conditions = timing.conditions
        assert (conditions.engine, conditions.mode, conditions.engine_version) == ("tensorrt", "trtexec", version)
        assert (conditions.timer, conditions.provider) == ("device events", "stand-in, no GPU")
        assert conditions.executed_precision == ("fp16 (weak typing)" if old else "fp32 (strong typing)")
        assert conditions.inputs == ("float32[1, 3, 16, 16]",)
    assert len([line for line in calls() if "--onnx" in line]) == len(VERSIONS)


def test_timings_tell_their_engine_and_go_through_json(make_model, make_profile):
    timing = measure(make_model(), make_profile())
    build = timing.conditions.build
    assert build.layers == 6 and build.engine_bytes > 0 and len(build.engine_sha256) == 64
    assert build.flags == (
        "--skipInference", "--profilingVerbosity=detailed", "--builderOptimizationLevel=3", "--fp16",
    )  # fmt: skip
    assert Timing.from_dict(timing.to_dict()) == timing


def test_an_engine_lies_beside_its_facts(make_model, make_profile, tmp_path):
    measure(make_model(), make_profile())
    (file,) = (tmp_path / "cache").glob("*/build.json")
    facts = json.loads(file.read_text())
    engine = file.with_name("model.engine").read_bytes()
    assert facts["engine_sha256"] == hashlib.sha256(engine).hexdigest() and facts["engine_bytes"] == len(engine)
    assert facts["model_sha256"] == hashlib.sha256(make_model().read_bytes()).hexdigest()
    assert (facts["tensorrt"], facts["gpu"]) == ("10.3.0", "stand-in, no GPU")


def test_layers_have_the_names_of_the_file(make_model, make_profile):
    profile = profile_nodes(make_model(), make_profile())
    nodes = {node.name: node for node in profile.nodes}
    assert list(nodes) == ["Reformat(/conv1/Conv)", "/conv1/Conv", "/conv2/Conv", "/pool", "/Flatten", "/fc/Gemm"]
    conv2 = nodes["/conv2/Conv"]
    assert conv2.fused == ("/Add", "/relu2/Relu") and conv2.operator.fused == ("Add", "Relu")
    assert (conv2.input_numel, conv2.output_numel) == (32 * 256, 32 * 256)
    assert conv2.time_s == pytest.approx(2e-6 + 32 * 256 * 1e-9, rel=1e-4)
    assert profile.nodes_s == pytest.approx((expected_ms(reformat=True) - 0.002) / 1e3, rel=1e-4)
    assert nodes["/fc/Gemm"].operator.weight_shape == (32, 10)
    assert {len(node.samples_s) for node in profile.nodes} == {len(conv2.samples_s)}


@pytest.mark.parametrize("version", ["8.6.1", "11.1.0"])
def test_two_models_are_compared_and_built_once(make_model, make_profile, calls, version):
    old = version == "8.6.1"
    profile = make_profile(version, "fp32", "weak" if old else "strong")
    comparison = compare(make_model(64), make_model(32), profile, rounds=1)
    wide = sum(0.002 + 1e-6 * numel for numel in (64 * 256, 64 * 256, 64, 64, 10)) + 0.002
    assert comparison.speedup == pytest.approx(wide / expected_ms(reformat=False), rel=1e-3)
    assert comparison.verdict == "faster" or comparison.low < comparison.speedup
    assert len([line for line in calls() if "--onnx" in line]) == 2  # of eight loads in two pairs of workers


def test_an_engine_that_cannot_be_loaded_any_more_is_built_again(make_model, make_profile, calls, tmp_path):
    profile = make_profile()
    measure(make_model(), profile)
    (engine,) = (tmp_path / "cache").glob("*/model.engine")
    engine.write_text("of another GPU")
    measure(make_model(), profile)
    assert len([line for line in calls() if "--onnx" in line]) == 2


def test_names_that_break_the_report_are_made_plain_and_come_back(make_model, make_profile):
    model = onnx.load(make_model())
    names = {"/conv1/Conv": 'first "conv"', "/conv2/Conv": "first _conv_", "/pool": "first _conv_-2", "/Add": "a + b"}
    for node in model.graph.node:
        node.name = names.get(node.name, node.name)
    path = make_model().with_name("odd.onnx")
    onnx.save(model, path)
    profile = profile_nodes(path, make_profile(precision="fp32"))
    nodes = {node.name: node for node in profile.nodes}
    assert list(nodes) == ['first "conv"', "first _conv_", "first _conv_-2", "/Flatten", "/fc/Gemm"]
    assert nodes["first _conv_"].fused == ("a + b", "/relu2/Relu")


def test_dynamic_axes(make_model, make_profile, calls):
    model, profile = make_model(size="side", batch="n"), make_profile(precision="fp32")
    with pytest.raises(InputError, match=r"has no size for its axis 'side'; give it under 'axes' in the profile"):
        Runner(model, profile)
    with Runner(model, profile.model_copy(update={"batch": 2, "axes": {"side": 8}})) as runner:
        assert runner.conditions().inputs == ("float32[2, 3, 8, 8]",)
        assert len(runner.run(3, 10.0)) == 3
    (conv1, *_) = profile_nodes(model, profile.model_copy(update={"batch": 2, "axes": {"side": 8}})).nodes
    assert conv1.output_shapes == ((2, 32, 8, 8),)
    build, *runs = calls()
    assert "--minShapes=x:2x3x8x8 --optShapes=x:2x3x8x8 --maxShapes=x:2x3x8x8" in build
    assert all("--shapes=x:2x3x8x8" in run for run in runs)


def test_the_dla_and_what_falls_back(make_model, make_profile, calls):
    timing = measure(make_model(), make_profile(dla_core=1))
    build = timing.conditions.build
    assert build.dla_layers == ("{ForeignNode[/conv1/Conv.../relu2/Relu]}",)
    assert build.fallback == ("/pool", "/Flatten", "/fc/Gemm")
    assert (
        "1 on the DLA, 3 on the GPU; 3 fell back from the DLA to the GPU: /pool /Flatten /fc/Gemm" in build.describe()
    )
    assert "--useDLACore=1 --allowGPUFallback" in calls()[0]
    assert all("--useCudaGraph" not in line for line in calls())


def refusal(model, profile, error=InputError):
    with pytest.raises(error) as caught:
        Runner(model, profile)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_precision_of_the_file_where_types_are_strong(make_model, make_profile):
    text = refusal(make_model(), make_profile("11.1.0", typing="strong"))
    assert "does not fit the profile 'stand-in': it runs in fp32, the profile's 'precision' is fp16" in text
    assert "TensorRT 11.1.0 takes types from the file alone" in refusal(make_model(), make_profile("11.1.0"))


def test_int8_needs_scales_in_the_file(make_model, make_profile):
    text = refusal(make_model(), make_profile(precision="int8"))
    assert "it has no QuantizeLinear nodes, and TensorRT would make up their scales; quantise it first" in text


def test_an_operator_that_it_does_not_know(make_profile, tmp_path):
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Dance", ["x"], ["y"], "/dance")], "g", ports[:1], ports[1:])
    path = tmp_path / "dance.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    text = refusal(path, make_profile())
    assert text.startswith(f"{path} is not a model that tensorrt can run (ModelImporter.cpp:771: While parsing node")
    assert not list((tmp_path / "cache").glob("*/"))  # nothing half built stays


@pytest.mark.parametrize("keep", [slice(0, -3), slice(100)])
def test_a_damaged_file(make_model, make_profile, tmp_path, keep):
    path = tmp_path / "cut.onnx"
    path.write_bytes(make_model().read_bytes()[keep])
    assert refusal(path, make_profile()).startswith(f"{path} is not a model that tensorrt can run (")


def test_a_build_that_takes_too_long(make_model, make_profile, monkeypatch):
    monkeypatch.setenv("STAND_IN_BUILD_S", "60")
    text = refusal(make_model(), make_profile(build_timeout_s=1.0), MeasurementError)
    assert "trtexec took longer than 1 s and was ended; set a longer 'build_timeout_s' under 'tensorrt'" in text


def test_a_program_that_is_not_trtexec(make_model, make_profile, tmp_path):
    program = tmp_path / "other"
    program.write_text("#!/bin/sh\necho hello\n")
    program.chmod(0o755)
    text = refusal(make_model(), make_profile(trtexec=str(program)))
    assert "cannot run here with tensorrt: trtexec does not say its version; is it NVIDIA's?" in text


def test_the_version_of_the_engine_is_the_programs(make_profile):
    assert engine_version(make_profile("10.13.3")) == "10.13.3"


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_killed_worker_takes_its_build_along(make_model, make_profile, monkeypatch, tmp_path):
    pid_file = tmp_path / "pid"
    monkeypatch.setenv("STAND_IN_BUILD_S", "60")
    monkeypatch.setenv("STAND_IN_PID", str(pid_file))
    conditions = {
        "engine": "tensorrt", "mode": "trtexec", "precision": "fp16", "batch": 1, "axes": {}, "affinity": None,
        "threads": 1, "inputs": [["x", "float32", [1, 3, 16, 16]]], "tensorrt": make_profile().tensorrt.model_dump(),
    }  # fmt: skip
    request = {"id": 1, "do": "load", "model": str(make_model()), "conditions": conditions, "profiling": False}
    deadline = time.monotonic() + 30
    command = [sys.executable, "-u", "-c", BOOTSTRAP]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as worker:
        worker.stdin.write(worker_sources() + json.dumps(request).encode() + b"\n")
        worker.stdin.flush()
        while not (pid_file.exists() and pid_file.read_text()):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        pid = int(pid_file.read_text())
        assert is_alive(pid)
        os.kill(worker.pid, signal.SIGKILL)  # it has no chance to end anything
    while is_alive(pid):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_layer_times_go_into_the_tables(make_model, make_profile):
    profile = profile_nodes(make_model(), make_profile("10.16.1"))
    assert type(profile).from_dict(profile.to_dict()).timing == profile.timing
    rows = {row.name: row for row in make_rows(profile)}
    conv = rows["/conv2/Conv"]
    assert (conv.c_in, conv.c_out) == (32, 32) and conv.time_s == pytest.approx(1.0192e-5, rel=1e-4)
    assert "Conv" in conv.layer and "Relu" in conv.layer


def test_stored_measurements_are_known_by_the_version_and_by_what_counts(make_profile):
    key = record_key("timing", make_profile("10.13.3", dla_core=1), "model")
    assert key.engine == "tensorrt 10.13.3"
    counted = {"typing": "weak", "dla_core": 1, "workspace_mib": None, "optimization_level": 3}
    assert json.loads(key.conditions)["tensorrt"] == counted
    other = record_key("timing", load_profile("cpu-onnxruntime"), "model")
    assert "tensorrt" not in json.loads(other.conditions)  # measurements from before are still found
