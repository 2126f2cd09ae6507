"""Which profiles can run on a machine, and what the others miss."""

import dataclasses
import importlib.util

import pytest

from deploy_prune.errors import InputError, MissingDependencyError
from deploy_prune.hardware.availability import find_obstacles, require_runnable, require_searchable
from deploy_prune.hardware.detect import NAME, detect_profile
from deploy_prune.hardware.host import local_host
from deploy_prune.hardware.machine import detect_machine
from deploy_prune.hardware.profile import HardwareProfile, load_profile


def profile(**fields):
    return HardwareProfile.model_validate({"name": "mine", "engine": "onnxruntime", **fields})


@pytest.fixture
def hidden(monkeypatch):
    """Makes a package look as if it were not installed."""

    def hide(package):
        find = importlib.util.find_spec
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == package else find(name))

    return hide


def test_the_default_runs_here():
    assert find_obstacles(load_profile("cpu-onnxruntime")) == ()


def test_an_engine_that_is_not_installed(hidden):
    hidden("openvino")
    assert find_obstacles(profile(engine="openvino")) == (
        "openvino is not installed: pip install 'deploy_prune[openvino]'",
    )
    with pytest.raises(MissingDependencyError, match="the profile 'mine' cannot run here: openvino is not installed"):
        require_runnable(profile(engine="openvino"))


def test_another_architecture_board_or_more_cores():
    here = detect_machine()
    assert find_obstacles(profile(architecture="riscv64")) == (
        f"it is for riscv64, this machine is {here.architecture}",
    )
    assert find_obstacles(profile(architecture=here.architecture, board="Abacus")) == (
        f"it is for the board 'Abacus', this machine is {here.processor}",
    )
    assert find_obstacles(profile(threads=4096)) == (f"it asks for 4096 threads, {here.usable_cores} cores are usable",)


def test_trtexec_is_a_program_and_no_package(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    told = "TensorRT's Debian and tar packages have it, pip has not"
    card = load_profile("nvidia-tensorrt")
    assert find_obstacles(card) == (f"no trtexec on PATH or at /usr/src/tensorrt/bin/trtexec: {told}", "no NVIDIA GPU")
    named = profile(engine="tensorrt", mode="trtexec", device="cuda", tensorrt={"trtexec": "/nowhere/trtexec"})
    assert find_obstacles(named)[0] == f"no trtexec at /nowhere/trtexec: {told}"
    (tmp_path / "trtexec").write_text("#!/bin/sh\n")
    (tmp_path / "trtexec").chmod(0o755)
    assert find_obstacles(card) == ("no NVIDIA GPU",)


def test_the_bindings_are_a_package(hidden):
    hidden("tensorrt")
    by_python = profile(engine="tensorrt", mode="python", device="cuda")
    assert find_obstacles(by_python)[0] == "tensorrt is not installed: pip install 'deploy_prune[tensorrt]'"


def test_a_host():
    here = dataclasses.replace(local_host(), engines={})
    assert find_obstacles(profile(host="orin", architecture="riscv64"), host=here) == (
        f"it is for riscv64, orin is {here.machine.architecture}",
        "onnxruntime is not installed: install it on orin for python3",
    )
    orin = profile(host="orin", engine="tensorrt", mode="trtexec", device="cuda")
    assert find_obstacles(orin, host=dataclasses.replace(here, gpu=True))[0].startswith("no trtexec on PATH")
    assert find_obstacles(orin, host=dataclasses.replace(here, gpu=True, trtexec="10.3.0")) == ()


def test_a_gpu_is_looked_for_in_the_devices(tmp_path):
    gpu = profile(engine="torch", mode="eager", device="cuda")
    assert find_obstacles(gpu, tmp_path) == ("no NVIDIA GPU",)
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/nvidia0").touch()
    assert find_obstacles(gpu, tmp_path) == ()


def test_compiling_needs_a_compiler(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert find_obstacles(profile(engine="torch", mode="compile")) == (
        "torch.compile needs a C++ compiler: install g++ or name one in CXX",
    )


def test_the_power_policy_is_checked_where_all_else_fits(tmp_path):
    wanted = {"clocks": "locked", "governor": "performance"}
    (tmp_path / "proc").mkdir()
    assert len(find_obstacles(profile(power=wanted), tmp_path)) == 2
    with pytest.raises(
        InputError, match=r"^the profile 'mine' cannot run here: it is for riscv64.*deploy-prune profiles"
    ):
        require_runnable(profile(power=wanted, architecture="riscv64"))


def test_the_detected_profile_runs_here(tmp_path):
    path = tmp_path / "here.yaml"
    path.write_text(detect_profile())
    found, here = load_profile(path), detect_machine()
    assert (found.name, found.threads, found.architecture) == (NAME, here.usable_cores, here.architecture)
    assert find_obstacles(found) == ()
    comments = [line for line in path.read_text().splitlines() if line.startswith("#")]
    assert any(here.processor in line for line in comments)
    assert any("onnxruntime " in line and "torch " in line for line in comments)


def test_the_detected_profile_takes_the_engine_that_there_is(hidden, tmp_path):
    path = tmp_path / "here.yaml"
    for package, taken in (("onnxruntime", "openvino"), ("openvino", "torch")):
        hidden(package)
        path.write_text(detect_profile())
        assert load_profile(path).engine == taken


@pytest.mark.parametrize("name", ["cpu-onnxruntime", "cpu-openvino"])
def test_widths_can_be_searched_where_layers_are_timed(name):
    require_searchable(load_profile(name))


def test_an_engine_that_times_no_layers_is_refused_before_anything_is_spent():
    with pytest.raises(InputError, match="'cpu-torch-eager' measures with torch, which does not time single layers"):
        require_searchable(load_profile("cpu-torch-eager"))


def test_what_is_missing_for_a_search_is_named():
    with pytest.raises(InputError, match=r"no trtexec on PATH .*; no NVIDIA GPU"):
        require_searchable(load_profile("nvidia-tensorrt"))
