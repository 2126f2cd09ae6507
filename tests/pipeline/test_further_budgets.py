"""The stages of a run with a budget under a second engine, on a small network in place of the recipe's."""

import json
import types

import pytest
import torch
import yaml
from torch import nn

from deploy_prune.export.onnx import export_onnx
from deploy_prune.hardware.profile import load_profile
from deploy_prune.pipeline import outcome, searching
from deploy_prune.pipeline.device import record_key, write_json
from deploy_prune.pipeline.device_step import WIDTHS
from deploy_prune.pipeline.latency_search import design_variants
from deploy_prune.pipeline.recipe import read_recipe
from deploy_prune.pipeline.settings import RunSettings
from deploy_prune.runtime.measure import compare, measure
from deploy_prune.store import MeasurementStore

pytest.importorskip("onnxruntime")
pytest.importorskip("openvino")
pytest.importorskip("ultralytics")

BRIEF = {"warm_up_runs": 2, "warm_up_max_s": 0.1, "min_runs": 10, "min_s": 0, "max_s": 0.3, "pairs": 2, "repeats": 0}
IMAGE = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 64, 3), nn.ReLU(), nn.Conv2d(64, 64, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Conv2d(64, 4, 1)
    ).eval()


TASK = types.SimpleNamespace(
    load=lambda path: network(),
    example_inputs=lambda: IMAGE,
    export_onnx=lambda model, path, **_: export_onnx(model, IMAGE, path),
    kept_output=None,
)


@pytest.fixture
def opened(tmp_path, monkeypatch):
    """Settings with a second engine, and a run's folder as the stage before has left it."""
    monkeypatch.setenv("DEPLOY_PRUNE_STORE", str(tmp_path / "store.sqlite"))
    for name, engine in (("first", "onnxruntime"), ("second", "openvino")):
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump({"name": name, "engine": engine, "measuring": BRIEF}))
    also = [{"profile": str(tmp_path / "second.yaml"), "speedup": 1.02}]
    recipe = {
        "name": "small", "task": "detect", "model": "yolov8n.yaml", "data": {"name": "digits"},
        "profile": str(tmp_path / "first.yaml"), "search": {"calibration_images": 0},
        "budget": {"speedup": 1.05, "max_params": 35000, "also": also},
    }  # fmt: skip
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    settings = RunSettings.of(read_recipe(tmp_path / "recipe.yaml"))
    for profile in (settings.profile, *settings.others):
        key = record_key("step", profile, f"two 3x3 convolutions, 64 to {WIDTHS} to 64 channels on 20x20")
        MeasurementStore().put(key, {"step": 16}, "test")
    monkeypatch.setattr(searching, "open_task", lambda settings, context: TASK)
    monkeypatch.setattr(searching, "design_variants", lambda prunable, device: design_variants(prunable, device, 8))
    folder = tmp_path / "run"
    for stage in ("baseline", "profile", "search", "benchmark"):
        (folder / stage).mkdir(parents=True)
    dense = export_onnx(network(), IMAGE, folder / "baseline" / "dense.onnx")
    write_json(folder / "baseline" / "timing.json", measure(dense, settings.profile).to_dict())
    return settings, folder


def context(folder, stage):
    return types.SimpleNamespace(
        out=folder / stage, work=folder, progress=None, output_file=lambda path: folder / path,
        output=lambda name: folder / name,
    )  # fmt: skip


def test_a_second_engine_is_profiled_searched_and_judged(opened):
    settings, folder = opened
    assert [one.name for one in settings.others] == ["second"] and load_profile(folder.parent / "second.yaml")
    assert settings.facts()["others"]
    searching.write_profile(settings, context(folder, "profile"))
    (dense_s,) = json.loads((folder / "profile" / "others.json").read_text())
    assert dense_s > 0
    searching.write_plan(settings, context(folder, "search"))
    (size,) = json.loads((folder / "search" / "sizes.json").read_text())
    assert size["name"] == "parameters" and size["amount"] <= size["allowed"] == pytest.approx(0.035)
    dense = folder / "baseline" / "dense.onnx"
    compared = compare(dense, dense, settings.others[0]).to_dict()
    write_json(folder / "benchmark" / "others.json", [compared])
    latency, params = outcome._judge_limits(settings, context(folder, "report"))
    assert (latency.name, latency.unit, params.kept) == ("latency under second", "ms", True)
    assert latency.amount / latency.allowed == pytest.approx(1.02 / compared["speedup"])
