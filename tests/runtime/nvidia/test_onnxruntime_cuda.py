"""ONNX Runtime on a GPU: what is refused without one, for real, and what is left for a machine that has one.

Opt-in, the package with CUDA on a machine without a GPU, where it falls back to the CPU without a word:

    pip install --no-deps --target FOLDER onnxruntime-gpu
    DEPLOY_PRUNE_ONNXRUNTIME_GPU=FOLDER python -m pytest tests/runtime/nvidia/test_onnxruntime_cuda.py
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import onnxruntime
import pytest

from deploy_prune.errors import InputError
from deploy_prune.hardware import host
from deploy_prune.hardware.availability import find_obstacles, require_searchable
from deploy_prune.hardware.profile import load_profile
from deploy_prune.runtime.measure import compare, measure, profile_nodes
from deploy_prune.runtime.runner import Runner
from deploy_prune.runtime.worker.onnxruntime_cuda import PROVIDER, bind_on, require_all_on_gpu
from deploy_prune.runtime.worker.onnxruntime_engine import make_feed
from deploy_prune.runtime.worker.refusal import RefusedError

HAS_GPU = any(Path("/", name).exists() for name in host.GPU_FILES)
WITH_CUDA = os.environ.get("DEPLOY_PRUNE_ONNXRUNTIME_GPU")
OPENS = """
import sys, json, onnxruntime
from deploy_prune.runtime.worker.onnxruntime_cuda import PROVIDER, require_provider
from deploy_prune.runtime.worker.refusal import RefusedError
options = onnxruntime.SessionOptions()
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=[(PROVIDER, {"use_tf32": "0"})])
try: require_provider(onnxruntime, session.get_providers())
except RefusedError as refused: print(json.dumps([onnxruntime.get_available_providers(), refused.kind, str(refused)]))
"""


@pytest.fixture
def cuda(brief):
    """The profile that comes with the package, with brief measurements."""
    return load_profile("nvidia-onnxruntime").model_copy(update={"measuring": brief.measuring})


def trace(model, folder):
    """The events of one run of a model on the CPU."""
    options = onnxruntime.SessionOptions()
    options.enable_profiling, options.profile_file_prefix = True, str(folder / "trace")
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    x = onnxruntime.OrtValue.ortvalue_from_shape_and_type([1, 3, 16, 16], "float32")
    session.run_with_ort_values(None, {"x": x})
    return json.loads(Path(session.end_profiling()).read_text())


def test_nodes_on_the_cpu_are_named(make_model, tmp_path):
    with pytest.raises(RefusedError) as caught:
        require_all_on_gpu(trace(make_model(), tmp_path))
    assert caught.value.kind == "input"
    text = str(caught.value)
    assert re.match(r"(\d+) of \1 nodes would run on CPUExecutionProvider, not the GPU: /", text)
    assert " (Conv), " in text and "; export it with fixed sizes" in text


def test_nodes_on_the_gpu_are_no_strays(make_model, tmp_path):
    events = trace(make_model(), tmp_path)
    nodes = [event for event in events if event.get("cat") == "Node" and event["name"].endswith("_kernel_time")]
    for event in nodes:
        event["args"]["provider"] = PROVIDER
    require_all_on_gpu(events)
    nodes[2]["args"]["provider"] = "CPUExecutionProvider"
    name = nodes[2]["name"].removesuffix("_kernel_time")
    with pytest.raises(RefusedError, match=r"^1 of \d+ nodes would run on CPU") as caught:
        require_all_on_gpu(events)
    assert f"{name} ({nodes[2]['args']['op_name']}); export it with fixed sizes" in str(caught.value)


def test_a_trace_without_nodes_proves_nothing():
    with pytest.raises(RefusedError, match="names no nodes"):
        require_all_on_gpu([{"cat": "Session", "name": "model_run"}])


def test_a_binding_gives_what_a_plain_run_gives(make_model):
    """On the CPU, with the run option that leaves waiting to an event: the calls are the same on a GPU."""
    session = onnxruntime.InferenceSession(make_model(), providers=["CPUExecutionProvider"])
    feed = make_feed(session, {"batch": 1, "axes": {}})
    binding, options = bind_on("cpu", onnxruntime, session, feed), onnxruntime.RunOptions()
    options.add_run_config_entry("disable_synchronize_execution_providers", "1")
    for _ in range(2):
        session.run_with_iobinding(binding, options)
    (got,), (wanted,) = binding.copy_outputs_to_cpu(), session.run(None, feed)
    assert (got == wanted).all()


@pytest.mark.skipif(HAS_GPU, reason="this machine has an NVIDIA GPU")
def test_without_a_gpu(make_model, cuda):
    assert find_obstacles(cuda) == ("no NVIDIA GPU",)
    with pytest.raises(InputError, match="'nvidia-onnxruntime' cannot run here: no NVIDIA GPU; see `deploy-prune"):
        Runner(make_model(), cuda)


def refusal(model, profile, monkeypatch):
    monkeypatch.setattr(host, "GPU_FILES", ("dev/null",))  # what stands for a GPU here
    with pytest.raises(InputError) as caught:
        Runner(model, profile)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.skipif(PROVIDER in onnxruntime.get_available_providers(), reason="this ONNX Runtime has CUDA")
def test_the_package_without_cuda(make_model, cuda, monkeypatch):
    text = refusal(make_model(), cuda, monkeypatch)
    assert f"this ONNX Runtime {onnxruntime.__version__} is built without CUDA (" in text
    assert text.endswith("pip uninstall onnxruntime, then pip install 'onnxruntime-gpu[cuda,cudnn]'")


def test_layers_are_not_timed_there(make_model, cuda, monkeypatch):
    with pytest.raises(InputError, match="with onnxruntime, which does not time single layers on a GPU; compare"):
        require_searchable(cuda)
    monkeypatch.setattr(host, "GPU_FILES", ("dev/null",))
    if not HAS_GPU:
        with pytest.raises(InputError):  # by the first worker, which is not profiled
            profile_nodes(make_model(), cuda)


@pytest.mark.skipif(WITH_CUDA is None or HAS_GPU, reason="set DEPLOY_PRUNE_ONNXRUNTIME_GPU: see the top of this file")
def test_the_package_with_cuda_falls_back_silently_and_is_refused(make_model, cuda, monkeypatch):
    environment = {**os.environ, "PYTHONPATH": f"{WITH_CUDA}:{Path(__file__).parents[3]}"}
    done = subprocess.run([sys.executable, "-c", OPENS, make_model()], env=environment, capture_output=True, text=True,
                          check=True)  # fmt: skip
    available, kind, message = json.loads(done.stdout)
    assert PROVIDER in available and kind == "device"
    assert "cannot start CUDA and would fall back to CPUExecutionProvider: lib" in message
    assert "cannot open shared object file" in message
    monkeypatch.setenv("PYTHONPATH", WITH_CUDA)
    assert "the profile 'nvidia-onnxruntime' cannot run here with onnxruntime: " in refusal(
        make_model(), cuda, monkeypatch
    )


@pytest.mark.gpu
@pytest.mark.skipif(not HAS_GPU, reason="no NVIDIA GPU")
@pytest.mark.skipif(PROVIDER not in onnxruntime.get_available_providers(), reason="this ONNX Runtime has no CUDA")
def test_on_a_gpu(make_model, cuda):
    timing = measure(make_model(), cuda)
    assert (timing.conditions.timer, timing.conditions.device) == ("device events", "cuda")
    assert timing.conditions.provider.startswith(PROVIDER)
    assert all(sample > 0 for sample in timing.samples_s) and set(timing.waits_s) == {0.0}
    assert timing.conditions.contention.gpu is not None
    assert compare(make_model(64, 128), make_model(8, 128), cuda, rounds=2).speedup > 1
