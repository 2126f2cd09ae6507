"""Models and machines that cannot be used: one clear line each."""

import os

import onnx
import pytest

from deploy_prune.errors import InputError, MissingDependencyError
from deploy_prune.hardware.profile import HardwareProfile
from deploy_prune.runtime.runner import Runner, is_warm


def refusal(model, profile, error=InputError):
    with pytest.raises(error) as caught:
        Runner(model, profile)
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_missing_file(tmp_path, brief):
    path = tmp_path / "none.onnx"
    assert refusal(path, brief) == f"model file {path} not found; give the path of an exported .onnx file"


def test_folder_is_no_file(tmp_path, brief):
    assert refusal(tmp_path, brief) == f"{tmp_path} is a folder; give the path of an exported .onnx file"


@pytest.mark.parametrize(
    ("keep", "reason"),
    [
        (slice(0), "No graph was found in the protobuf."),
        (slice(0, -3), "Protobuf parsing failed."),
        (slice(100), "Protobuf parsing failed."),
    ],
)
def test_empty_and_truncated_files(make_model, brief, tmp_path, keep, reason):
    path = tmp_path / "cut.onnx"
    path.write_bytes(make_model().read_bytes()[keep])
    expected = f"{path} is not a model that onnxruntime can run ({reason}); export it again"
    assert refusal(path, brief) == expected


def test_file_of_another_kind(brief, tmp_path):
    path = tmp_path / "weights.pt"
    path.write_bytes(b"PK\x03\x04 a zip file, as torch.save writes it")
    assert refusal(path, brief) == f"{path} is no .onnx file, which is what onnxruntime reads; export it as one"


def test_half_a_model_is_not_sent_to_another_machine(brief, tmp_path):
    path = tmp_path / "net.xml"
    path.write_text("<net/>")
    there = HardwareProfile.model_validate({**brief.model_dump(), "engine": "openvino", "host": "board"})
    expected = f"{path} has its weights in a second file, which is not sent to board; take the .onnx"
    assert refusal(path, there) == expected


def test_file_that_is_only_named_onnx(brief, tmp_path):
    path = tmp_path / "weights.onnx"
    path.write_bytes(b"PK\x03\x04 a zip file, as torch.save writes it")
    assert "is not a model that onnxruntime can run (Protobuf parsing failed.)" in refusal(path, brief)


def test_newer_format_than_the_engine_knows(make_model, brief, tmp_path):
    model = onnx.load(make_model())
    model.ir_version = 99
    onnx.save(model, tmp_path / "new.onnx")
    text = refusal(tmp_path / "new.onnx", brief)
    assert "(Unsupported model IR version: 99, max supported IR version:" in text


def test_engine_that_is_not_installed(make_model, brief, tmp_path, monkeypatch):
    """A stand-in package that cannot be imported, as on a machine without the engine."""
    (tmp_path / "onnxruntime.py").write_text("raise ImportError('No module named onnxruntime')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert refusal(make_model(), brief, MissingDependencyError) == (
        "onnxruntime cannot be imported (No module named onnxruntime); pip install 'deploy_prune[onnx]'"
    )


def test_dynamic_axes_take_their_sizes_from_the_profile(make_model, brief):
    model = make_model(size="side", batch="n")
    assert refusal(model, brief) == (
        f"{model} does not fit the profile 'brief': input 'x' ['n', 3, 'side', 'side'] has no size for its "
        "axis 'side'; give it under 'axes' in the profile"
    )
    with Runner(model, brief.model_copy(update={"batch": 2, "axes": {"side": 8}})) as runner:
        assert runner.conditions().inputs == ("float32[2, 3, 8, 8]",)
        assert len(runner.run(3, 10.0)) == 3


def test_batch_of_the_model_and_the_profile_differ(make_model, brief):
    model = make_model(batch=4)
    assert refusal(model, brief) == (
        f"{model} does not fit the profile 'brief': input 'x' has a batch of 4, the profile's 'batch' is 1"
    )


def test_cores_that_do_not_exist(make_model, brief):
    text = refusal(make_model(), brief.model_copy(update={"affinity": (4096,)}))
    assert "the profile's 'affinity' is [4096], the cores to choose from are [" in text


def test_affinity_and_two_threads(make_model, brief):
    core = min(os.sched_getaffinity(0))
    profile = brief.model_copy(update={"affinity": (core,), "threads": 2})
    with Runner(make_model(), profile) as runner:
        runs = runner.run(5, 10.0)
    assert len(runs) == 5 and runs.waits_s == (0.0,) * 5  # waiting is known for one thread only


def test_warm_up_runs_are_counted(make_model, brief):
    with Runner(make_model(), brief) as runner:
        assert len(runner.warm_up()) == runner.runs_done - 1 >= 10  # the very first run does not count


@pytest.mark.parametrize(
    ("samples", "warm"),
    [
        ((1.0,) * 5, False),  # nothing to compare with yet
        ((1.0,) * 10, True),
        ((1.0,) * 5 + (0.98,) * 5, True),
        ((1.0,) * 5 + (0.9,) * 5, False),
        ((1.0,) * 5 + (5.0, 5.0, 1.0, 5.0, 5.0), True),  # a disturbance is not a sign of being cold
    ],
)
def test_warm_means_no_longer_getting_faster(samples, warm):
    assert is_warm(samples) is warm
