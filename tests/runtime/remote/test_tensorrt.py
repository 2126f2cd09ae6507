"""TensorRT on another machine: the stand-in for trtexec, over a real ssh connection; no TensorRT is here."""

import sys
from pathlib import Path

import pytest

from deploy_prune.errors import InputError
from deploy_prune.hardware.profile import HardwareProfile
from deploy_prune.runtime import hosts
from deploy_prune.runtime.hosts import find_host
from deploy_prune.runtime.measure import measure, profile_nodes
from deploy_prune.runtime.runner import engine_version

STAND_IN = Path(__file__).parents[1] / "tensorrt/trtexec_stand_in.py"
LIMITS = {"min_runs": 20, "min_s": 0.0, "max_s": 20.0, "ci_width": 0.5, "pairs": 2}


@pytest.fixture
def with_gpu(monkeypatch):
    """The board says that it has a GPU."""
    read = hosts.host_from_readings
    monkeypatch.setattr(hosts, "host_from_readings", lambda readings: read({**readings, "gpu": True}))


@pytest.fixture
def trtexec_profile(board, tmp_path):
    program = tmp_path / "trtexec"
    stand_in = f"STAND_IN_VERSION=10.3.0 STAND_IN_CALLS={tmp_path}/calls exec {sys.executable} {STAND_IN}"
    program.write_text(f'#!/bin/sh\n{stand_in} "$@"\n')
    program.chmod(0o755)
    fields = {"name": "far", "engine": "tensorrt", "mode": "trtexec", "device": "cuda", "precision": "fp16"}
    tensorrt = {"typing": "weak", "trtexec": str(program)}
    brief = HardwareProfile.model_validate({**fields, "tensorrt": tensorrt, "measuring": LIMITS})
    return board.profile(brief)


def test_the_engine_is_built_once_there_and_kept_in_the_one_folder(
    board, with_gpu, trtexec_profile, make_model, tmp_path
):
    timing = measure(make_model(), trtexec_profile)
    assert (timing.conditions.engine_version, timing.conditions.provider) == ("10.3.0", "stand-in, no GPU")
    assert timing.conditions.build.layers == 6
    nodes = profile_nodes(make_model(), trtexec_profile).nodes
    assert [node.name for node in nodes][1:3] == ["/conv1/Conv", "/conv2/Conv"]
    assert len([line for line in (tmp_path / "calls").read_text().splitlines() if "--onnx" in line]) == 1
    assert len(list(board.cache.glob("deploy_prune/tensorrt/*/model.engine"))) == 1
    assert board.is_clean()


def test_the_version_there_is_known_before_anything_is_measured(with_gpu, trtexec_profile):
    assert engine_version(trtexec_profile) == "10.3.0"
    assert find_host(trtexec_profile).trtexec == "10.3.0"


def test_a_board_without_trtexec_or_gpu(board, trtexec_profile, make_model):
    settings = {**trtexec_profile.tensorrt.model_dump(), "trtexec": "/nowhere/trtexec"}
    with pytest.raises(InputError, match=r"cannot run on board: no trtexec at /nowhere/trtexec: .*; no NVIDIA GPU"):
        measure(make_model(), board.profile(trtexec_profile, tensorrt=settings))
