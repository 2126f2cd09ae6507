"""A recipe whose trainings take two processes: started, used, and their refusals told."""

import pytest
import yaml
from pipeline.small_recipe import PROFILE, RECIPE, run

from deploy_prune.pipeline.recipe import Recipe

pytestmark = pytest.mark.slow
CHANGES = {"train": {"epochs": 2, "processes": 2}, "sparse": {"epochs": 0}, "schedule": {"steps": 1}}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "quick.yaml").write_text(yaml.safe_dump(PROFILE))
    recipe = RECIPE | CHANGES | {"finetune": {"epochs": 1, "processes": 2, "distil": True}}
    (tmp_path / "two_steps.yaml").write_text(yaml.safe_dump(recipe | {"profile": str(tmp_path / "quick.yaml")}))
    return tmp_path


def test_both_trainings_are_done_by_two_processes(folder):
    done = run(folder)
    assert done.returncode in (0, 1), done.stderr
    report = folder / "run" / "report" / "report.json"
    assert report.is_file()


def test_what_a_process_refuses_is_said_in_one_line(folder):
    done = run(folder, "train.batch=33")
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "error: a batch of 33 cannot be shared by 2 processes; set batch to a multiple of 2, at most the number of "
        "training samples"
    ]


def test_yolo_networks_refuse_it():
    recipe = {**RECIPE, "task": "detect", "model": "yolov8n.yaml", "train": {"processes": 2}}
    recipe["data"] = {"name": "digits"}
    with pytest.raises(ValueError, match="YOLO networks are trained by one process here"):
        Recipe.model_validate(recipe)
