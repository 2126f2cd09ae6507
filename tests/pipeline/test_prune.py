"""``deploy-prune prune`` on a small network, measured for real, in processes of their own."""

import os
import sqlite3
import subprocess
import sys

import onnx
import pytest
import torch
import yaml

import deploy_prune
from deploy_prune.hardware.profile import HardwareProfile, load_profile
from deploy_prune.pipeline.device import record_key
from deploy_prune.pipeline.device_step import WIDTHS
from deploy_prune.pruner.saved import load_pruned
from deploy_prune.report.front import read_front, read_point
from deploy_prune.store import MeasurementStore

LIMITS = {"warm_up_runs": 2, "warm_up_max_s": 0.2, "min_runs": 10, "min_s": 0, "max_s": 0.5, "pairs": 2}
MODELS = """
import torch
from torch import nn

def small():
    layers = [nn.Conv2d(3, 64, 3, padding=1), nn.ReLU()]
    for _ in range(3):
        layers += [nn.Conv2d(64, 64, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)), torch.rand(1, 3, 48, 48)

class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
    def forward(self, a, b):
        return self.conv(a + b)

def two(): return Two(), (torch.rand(1, 3, 8, 8), torch.rand(1, 3, 8, 8))
"""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with models and a quick profile, and a store that knows the device's step."""
    folder = tmp_path_factory.mktemp("prune")
    (folder / "models.py").write_text(MODELS)
    (folder / "quick.yaml").write_text(yaml.safe_dump({"name": "quick", "engine": "onnxruntime", "measuring": LIMITS}))
    profile = load_profile(folder / "quick.yaml")
    assert isinstance(profile, HardwareProfile)
    key = record_key("step", profile, f"two 3x3 convolutions, 64 to {WIDTHS} to 64 channels on 20x20")
    MeasurementStore(folder / "store.sqlite").put(key, {"step": 16}, "test")
    return folder


def prune(place, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "deploy_prune", "prune", *arguments, "--profile", "quick.yaml"],
        capture_output=True, text=True, check=False, cwd=place,
        env={**os.environ, "DEPLOY_PRUNE_STORE": str(place / "store.sqlite"), "COLUMNS": "160"},
    )  # fmt: skip


def measurements(place):
    return sqlite3.connect(place / "store.sqlite").execute("SELECT count(*) FROM measurements").fetchone()[0]


@pytest.fixture(scope="module")
def front(place):
    done = prune(place, "models:small", "--budgets", "100x,1.5", "--out", "out")
    assert done.returncode == 1, done.stderr  # one of the budgets is out of reach
    return read_front(place / "out" / "front" / "front.json"), done


def test_an_unreachable_budget_is_a_row_and_stops_no_other(front):
    found, done = front
    assert [(point.asked, point.pruned is None) for point in found.points] == [("1.5x", False), ("100x", True)]
    assert 0 < found.points[1].fastest_ms < found.dense.latency_ms.median
    assert "unreachable" in done.stdout and "1.5x" in done.stdout
    assert found.points[0].pruned.macs < found.dense.macs
    assert {one.phase for one in found.spent} == {"analysis", "profiling", "pricing"}
    assert {"solving", "measuring", "verifying"} <= {one.phase for one in found.points[0].spent}


def test_the_files_of_a_budget_are_the_pruned_model(place, front):
    folder = place / "out" / "1.5x"
    assert {path.name for path in folder.iterdir()} == {
        "model.onnx", "plan.json", "model.safetensors", "report.json", "report.md", "rounds.json", "stage.json",
        "efficiency.png", "rounds.png", "widths.png",
    }  # fmt: skip
    sys.path.insert(0, str(place))
    try:
        dense, inputs = __import__("models").small()
    finally:
        sys.path.remove(str(place))
    why = read_point(folder / "report.json").pruned.why
    assert {layer.name for layer in why.explanation.layers} >= {"0", "2", "4", "6", "10"}
    assert "Why the speed-up is not the MAC ratio" in (folder / "report.md").read_text()
    pruned = load_pruned(dense, folder)
    point = read_point(folder / "report.json")
    assert sum(p.numel() for p in pruned.parameters()) == point.pruned.params
    assert pruned(inputs).shape == (1, 10)
    exported = onnx.load(folder / "model.onnx")
    assert sum(torch.Size(t.dims).numel() for t in exported.graph.initializer) >= point.pruned.params
    assert {path.name for path in (place / "out" / "front").iterdir()} >= {
        "front.json", "front.md", "front.csv", "front.png", "efficiency.png"
    }  # fmt: skip


def test_what_is_done_is_skipped_and_a_further_budget_profiles_nothing(place, front):
    before = measurements(place)
    again = prune(place, "models:small", "--budgets", "1.5,100", "--out", "out")
    assert again.returncode == 1 and again.stdout.count("(unchanged, skipped)") == 5
    assert measurements(place) == before
    further = prune(place, "models:small", "--speedup", "1.8", "--out", "out")
    assert further.returncode in (0, 1), further.stderr  # 1: a busy machine missed it in the last measurement
    assert further.stdout.count("(unchanged, skipped)") == 2  # dense and profile
    assert measurements(place) - before <= 12  # of its rounds: a comparison and a profile each
    assert [point.asked for point in read_front(place / "out" / "front" / "front.json").points] == ["1.8x"]


def test_a_model_of_two_inputs_is_refused(place):
    done = prune(place, "models:two", "--speedup", "2", "--out", "two")
    assert done.returncode == 2
    assert done.stderr == (
        "error: models:two takes a tuple; only models of one tensor can be exported and measured yet\n"
    )


def test_several_budgets_from_python(place, front):
    torch.manual_seed(0)
    sys.path.insert(0, str(place))
    try:
        model, inputs = __import__("models").small()
    finally:
        sys.path.remove(str(place))
    found = deploy_prune.prune_to_latencies(
        model, inputs, speedups=[1.5], latencies_ms=[1e-4], profile=load_profile(place / "quick.yaml"),
        store=place / "store.sqlite",
    )  # fmt: skip
    assert [point.asked for point in found.front.points] == ["1.5x", "0.0001ms"]
    result, missing = found.results
    assert missing is None and found.front.points[1].fastest_ms > 1e-4
    assert sum(p.numel() for p in result.model.parameters()) == found.front.points[0].pruned.params
    assert result.best in result.rounds and result.budget_s == result.best.budget_s
