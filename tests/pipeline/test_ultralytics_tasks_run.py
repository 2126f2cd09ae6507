"""The whole pipeline on the tasks whose data are no `.yaml` file, or hold more than boxes."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from deploy_prune.datasets import write_digits
from deploy_prune.pipeline.recipe import read_recipe
from deploy_prune.pipeline.settings import RunSettings
from deploy_prune.report.result import read_result

PIPELINES = Path(__file__).parents[2] / "pipelines"
PROFILE = {
    "name": "quick",
    "engine": "onnxruntime",
    "measuring": {"warm_up_runs": 2, "warm_up_max_s": 0.3, "min_runs": 10, "min_s": 0, "max_s": 1},
}
TINY = {
    "train": {"epochs": 1},
    "finetune": {"epochs": 1, "distil": True},
    "search": {"calibration_images": 2},
    "recover": {"images": 8},
    "export": {"parity_images": 2},
    "budget": {"speedup": 1.1},
}


def tiny_recipe(folder, name, **changes):
    (folder / "quick.yaml").write_text(yaml.safe_dump(PROFILE))
    recipe = yaml.safe_load((PIPELINES / name).read_text())
    recipe |= TINY | {"name": "tiny", "profile": str(folder / "quick.yaml")} | changes
    (folder / "tiny.yaml").write_text(yaml.safe_dump(recipe))
    return folder / "tiny.yaml"


def run(recipe, out):
    command = [sys.executable, "-m", "deploy_prune", "run", recipe, "--out", out]
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_a_classifier_on_the_users_own_folder(tmp_path):
    data = write_digits("classify", tmp_path / "mine", train=20, val=10, image_size=32)
    recipe = tiny_recipe(tmp_path, "yolo11n_cls_digits.yaml", data={"path": str(data), "image_size": 32})
    assert RunSettings.of(read_recipe(recipe)).facts()["data"][-1] is None
    done = run(recipe, tmp_path / "run")
    assert done.returncode in (0, 1), done.stderr  # 1: a machine that is busy with other tests missed the budget
    result = read_result(tmp_path / "run" / "report" / "report.json")
    assert {step.name for step in result.metric_steps} == {"top-1 accuracy"}
    assert result.pruned.params < result.dense.params
    values = {(step.stage, step.form): step.value for step in result.metric_steps}
    assert values["finetune", "pytorch"] == pytest.approx(values["export", "onnx"], abs=0.005)


@pytest.mark.slow
def test_keypoints_embedded(tmp_path):
    data = {"name": "digits", "train": 12, "val": 4, "image_size": 64}
    done = run(tiny_recipe(tmp_path, "yolo11n_pose_digits.yaml", data=data), tmp_path / "run")
    assert done.returncode in (0, 1), done.stderr
    result = read_result(tmp_path / "run" / "report" / "report.json")
    assert {step.name for step in result.metric_steps} == {"pose mAP50-95"}


def test_a_fault_in_the_users_data_ends_the_first_stage(tmp_path):
    data = write_digits("obb", tmp_path / "mine", train=4, val=2, image_size=32)
    labels = tmp_path / "mine" / "labels" / "val" / "00001.txt"
    labels.write_text("0 0.5 0.5 0.2 0.2\n")
    recipe = tiny_recipe(tmp_path, "yolo11n_obb_digits.yaml", data={"path": str(data), "image_size": 32})
    done = run(recipe, tmp_path / "run")
    said = f"{labels}, line 1: 5 columns; expected 9 (class x1 y1 x2 y2 x3 y3 x4 y4)"
    assert done.returncode == 2 and said in done.stderr
    assert not (tmp_path / "run" / "train").exists()
