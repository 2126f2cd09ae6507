"""A stand-in for trtexec under its real name, and profiles that use it."""

import sys
from pathlib import Path

import pytest

from deploy_prune.hardware import host
from deploy_prune.hardware.profile import HardwareProfile

STAND_IN = Path(__file__).with_name("trtexec_stand_in.py")
VERSIONS = ("8.6.1", "10.3.0", "10.13.3", "10.16.1", "11.1.0")
LIMITS = {"min_runs": 20, "min_s": 0.0, "max_s": 20.0, "ci_width": 0.5, "pairs": 2}


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Writes a program ``trtexec`` that is the stand-in, of the version that is given; returns its path."""
    monkeypatch.setattr(host, "GPU_FILES", ("dev/null",))  # what stands for a GPU here
    monkeypatch.setenv("STAND_IN_CALLS", str(tmp_path / "calls"))

    def write(version):
        program = tmp_path / f"trtexec-{version}" / "trtexec"
        program.parent.mkdir(exist_ok=True)
        program.write_text(f'#!/bin/sh\nSTAND_IN_VERSION={version} exec {sys.executable} {STAND_IN} "$@"\n')
        program.chmod(0o755)
        return program

    return write


@pytest.fixture
def make_profile(install, tmp_path):
    """A profile for the stand-in of a version; weak typing in fp16 unless said otherwise."""

    def make(version="10.3.0", precision="fp16", typing="weak", **settings):
        tensorrt = {"typing": typing, "trtexec": str(install(version)), "cache": str(tmp_path / "cache"), **settings}
        fields = {"name": "stand-in", "engine": "tensorrt", "mode": "trtexec", "device": "cuda", "precision": precision}
        return HardwareProfile.model_validate({**fields, "tensorrt": tensorrt, "measuring": LIMITS})

    return make


@pytest.fixture
def calls(tmp_path):
    """The command lines so far, without those that ask for the version."""
    path = tmp_path / "calls"
    return lambda: [line for line in path.read_text().splitlines() if line != "--help"] if path.exists() else []
