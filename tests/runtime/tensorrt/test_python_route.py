"""TensorRT by its Python bindings: the whole way through a worker, a building child and ctypes, on stand-ins.

The bindings are a stand-in of the same names (test_contract.py asks the real ones for them), CUDA's runtime library is
a few lines of C over the host's memory and clock. No TensorRT and no GPU is here.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import onnx
import pytest

from deploy_prune.errors import InputError, MeasurementError
from deploy_prune.hardware import host
from deploy_prune.hardware.profile import HardwareProfile
from deploy_prune.runtime.measure import compare, measure, profile_nodes
from deploy_prune.runtime.runner import Runner
from deploy_prune.runtime.worker import cuda_runtime
from deploy_prune.runtime.worker.cuda_runtime import load_library
from deploy_prune.runtime.worker.refusal import RefusedError
from deploy_prune.runtime.worker.tensorrt_engine import BuildRequest, set_choices

GPU_FILES = host.GPU_FILES
FOLDER = Path(__file__).with_name("python_stand_in")
LIMITS = {"min_runs": 20, "min_s": 0.0, "max_s": 2.0, "ci_width": 0.5, "pairs": 2}

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="the stand-in for CUDA needs a C compiler")


@pytest.fixture
def make_profile(tmp_path, monkeypatch):
    library = tmp_path / "lib" / "libcudart.so.13"
    library.parent.mkdir()
    subprocess.run(["cc", "-shared", "-fPIC", "-o", str(library), str(FOLDER / "cudart.c")], check=True)
    monkeypatch.setattr(host, "GPU_FILES", ("dev/null",))  # what stands for a GPU here
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.setenv("PYTHONPATH", str(FOLDER))
    monkeypatch.setenv("LD_LIBRARY_PATH", str(library.parent))
    monkeypatch.setenv("STAND_IN_VERSION", "10.3.0")

    def make(precision="fp16", typing="weak", **settings):
        tensorrt = {"typing": typing, "cache": str(tmp_path / "cache"), **settings}
        fields = {"name": "stand-in", "engine": "tensorrt", "mode": "python", "device": "cuda", "precision": precision}
        return HardwareProfile.model_validate({**fields, "tensorrt": tensorrt, "measuring": LIMITS})

    return make


def test_a_model_is_built_in_a_child_and_timed_between_events(make_model, make_profile):
    timing = measure(make_model(), make_profile(workspace_mib=64))
    conditions = timing.conditions
    assert (conditions.mode, conditions.timer, conditions.engine_version) == ("python", "device events", "10.3.0")
    assert conditions.executed_precision == "fp16 (weak typing)" and conditions.inputs == ("float32[1, 3, 16, 16]",)
    assert timing.median_s >= 1e-3 and timing.waits_s == (0.0,) * timing.n
    assert conditions.build.layers == 5 and conditions.build.context_bytes == 0


def test_layers_are_timed_in_every_run(make_model, make_profile):
    profile = profile_nodes(make_model(), make_profile("fp32"))
    assert [node.name for node in profile.nodes] == ["/conv1/Conv", "/conv2/Conv", "/pool", "/Flatten", "/fc/Gemm"]
    assert [node.time_s for node in profile.nodes] == [pytest.approx(1e-4)] * 5
    assert len(profile.nodes[0].samples_s) >= 20


def test_two_models_are_compared_and_built_once(make_model, make_profile, tmp_path):
    comparison = compare(make_model(16), make_model(32), make_profile(), rounds=2)
    assert comparison.baseline.n > 0 and len(comparison.pairs) == 2
    assert len(list((tmp_path / "cache").glob("*/build.json"))) == 2
    assert (tmp_path / "cache" / "timing-10.3.0-python.cache").read_bytes() == b"stand-in"


def test_dynamic_axes(make_model, make_profile):
    profile = make_profile().model_copy(update={"batch": 2, "axes": {"side": 8}})
    with Runner(make_model(size="side", batch="n"), profile) as runner:
        assert runner.conditions().inputs == ("float32[2, 3, 8, 8]",)


def refusal(model, profile, error=InputError):
    with pytest.raises(error) as caught:
        Runner(model, profile)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("build", "error", "reason"),
    [
        (
            "refuse",
            InputError,
            "can run (no tactic found for /conv1/Conv); export it again",
        ),
        ("crash", MeasurementError, "the building process died (exit code -6)"),
    ],
)
def test_a_build_that_fails(make_model, make_profile, monkeypatch, build, error, reason):
    monkeypatch.setenv("STAND_IN_BUILD", build)
    assert reason in refusal(make_model(), make_profile(), error)


def test_a_build_that_takes_too_long(make_model, make_profile, monkeypatch):
    monkeypatch.setenv("STAND_IN_BUILD_S", "60")
    text = refusal(make_model(), make_profile(build_timeout_s=0.5), MeasurementError)
    assert "the build took longer than 0.5 s and was ended; set a longer 'build_timeout_s'" in text


def test_an_operator_that_it_does_not_know(make_model, make_profile, tmp_path):
    model = onnx.load(make_model())
    model.graph.node[0].op_type = "Dance"
    onnx.save(model, tmp_path / "dance.onnx")
    assert "(no importer for Dance); export it again" in refusal(tmp_path / "dance.onnx", make_profile())


def test_an_engine_that_cannot_be_loaded_any_more_makes_room_for_another(make_model, make_profile, tmp_path):
    measure(make_model(), make_profile())
    (engine,) = (tmp_path / "cache").glob("*/model.engine")
    engine.write_text("of another GPU")
    assert "cannot be loaded and is removed; try again" in refusal(make_model(), make_profile(), MeasurementError)
    measure(make_model(), make_profile())


def test_choices_of_the_builder(make_profile, monkeypatch):
    profile = make_profile("int8", dla_core=1, workspace_mib=2, optimization_level=5)
    import tensorrt  # the stand-in

    monkeypatch.delitem(sys.modules, "tensorrt")
    config = tensorrt.Config()
    request = BuildRequest("m", "int8", profile.tensorrt.model_dump(), {}, Path("t"))
    set_choices(tensorrt, config, request)
    flags = tensorrt.BuilderFlag
    assert config.flags == {flags.TF32, flags.FP16, flags.INT8, flags.GPU_FALLBACK}
    assert (config.default_device_type, config.DLA_core) == (tensorrt.DeviceType.DLA, 1)
    assert config.builder_optimization_level == 5
    plain = tensorrt.Config()
    settings = make_profile("fp32", "strong").tensorrt.model_dump()
    set_choices(tensorrt, plain, BuildRequest("m", "fp32", settings, {}, Path("t")))
    assert plain.flags == set() and not hasattr(plain, "DLA_core")  # fp32 without TF32


def test_the_real_library_has_every_function_and_says_that_there_is_no_gpu(make_model, make_profile, monkeypatch):
    """Where CUDA's own runtime library is installed, without a GPU, it answers itself."""
    monkeypatch.setenv("LD_LIBRARY_PATH", "")
    try:
        library = load_library()
    except RefusedError as refused:
        pytest.skip(str(refused))
    source = Path(cuda_runtime.__file__).read_text()
    functions = set(re.findall(r'"(cuda[A-Z]\w+)"', source)) | {"cudaGetErrorString"}
    assert len(functions) == 9 and all(hasattr(library, function) for function in functions)
    if any((Path("/") / name).exists() for name in GPU_FILES):
        pytest.skip("this machine has a GPU")
    text = refusal(make_model(), make_profile())
    assert "the profile 'stand-in' cannot run here with tensorrt: cudaStreamCreate: " in text and "(CUDA error" in text
