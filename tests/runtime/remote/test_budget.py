"""A whole budget and the command line over a real ssh connection."""

import subprocess
import sys

import pytest
import torch
from torch import nn

import deploy_prune
from deploy_prune.pipeline.device import record_key
from deploy_prune.pipeline.device_step import WIDTHS
from deploy_prune.store import MeasurementStore

INPUTS = torch.rand(1, 3, 48, 48, generator=torch.Generator().manual_seed(0))


def network():
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, 64, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)).eval()


@pytest.mark.slow
def test_a_budget_gives_the_plan_that_it_gives_here(board, brief, tmp_path):
    """Each side measures for itself: the step is known, so few widths are possible and the plans are far apart."""
    limits = brief.measuring.model_copy(update={"min_runs": 10, "max_s": 1.0, "ci_width": 0.03})
    profile = brief.model_copy(update={"measuring": limits})
    plans = []
    for name, where in (("here", profile), ("there", board.profile(profile))):
        store = MeasurementStore(tmp_path / f"{name}.sqlite")
        step = record_key("step", where, f"two 3x3 convolutions, 64 to {WIDTHS} to 64 channels on 20x20")
        store.put(step, {"step": 32}, "test")
        result = deploy_prune.prune_to_latency(
            network(), INPUTS, profile=where, speedup=1.5, store=tmp_path / f"{name}.sqlite"
        )
        plans.append(result.plan.widths)
        assert result.comparison.speedup > 1.4
    assert plans[0] == plans[1]
    assert board.is_clean()


def test_what_was_measured_here_and_there_has_one_key(board, brief):
    assert record_key("step", brief, "x") == record_key("step", board.profile(brief), "x")


def check(*arguments):
    command = [sys.executable, "-m", "deploy_prune", "device", "check", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=None)


@pytest.fixture
def wide(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")


@pytest.mark.usefixtures("wide")
def test_a_device_says_what_it_is(board):
    done = check("board", "--python", sys.executable)
    assert done.returncode == 0, done.stderr
    for words in ("onnxruntime 1.", "cpu-onnxruntime can run", "a run would change", "models are kept in ~/.cache"):
        assert words in done.stdout
    assert board.is_clean()


@pytest.mark.usefixtures("wide", "board")
def test_a_device_without_the_engine_says_so():
    done = check("board", "--python", "/usr/bin/python3")
    assert done.returncode == 1
    assert "onnxruntime is not installed: install it on board for /usr/bin/python3" in done.stdout


@pytest.mark.usefixtures("board")
def test_a_device_that_is_not_there():
    done = check("nobody.invalid")
    assert done.returncode == 2
    assert "error: cannot connect to nobody.invalid: there is no such host" in done.stderr
