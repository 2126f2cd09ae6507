"""The YAML of a sweep: the jobs that follow from it, and the exact line for every mistake."""

from pathlib import Path

import pytest
import yaml

from deploy_prune.errors import InputError
from deploy_prune.pipeline.fleet_job import FleetJob
from deploy_prune.pipeline.fleet_processes import by_device
from deploy_prune.pipeline.fleet_sweep import read_sweep

GOOD = {
    "models": ["torchvision/resnet18", {"source": "yolov8n.yaml", "image_size": 320}],
    "budgets": [1.5, "2x", "8ms"],
    "profiles": ["cpu-onnxruntime", "cpu-openvino"],
}


def read(tmp_path, **changes):
    settings = {key: value for key, value in {**GOOD, **changes}.items() if value is not ...}
    path = tmp_path / "sweep.yaml"
    path.write_text(yaml.safe_dump(settings))
    return read_sweep(path)


def mistakes(tmp_path, **changes):
    with pytest.raises(InputError) as caught:
        read(tmp_path, **changes).jobs(tmp_path)
    return str(caught.value).replace(f"{tmp_path / 'sweep.yaml'}: ", "").splitlines()


def test_a_job_per_model_and_profile_with_all_budgets(tmp_path):
    jobs = read(tmp_path).jobs(tmp_path / "out")
    assert [(Path(job.folder).relative_to(tmp_path / "out").as_posix(), job.budgets) for job in jobs] == [
        ("resnet18/cpu-onnxruntime", ("1.5x", "2x", "8ms")),
        ("resnet18/cpu-openvino", ("1.5x", "2x", "8ms")),
        ("yolov8n.yaml/cpu-onnxruntime", ("1.5x", "2x", "8ms")),
        ("yolov8n.yaml/cpu-openvino", ("1.5x", "2x", "8ms")),
    ]
    assert jobs[2].name == "yolov8n.yaml on cpu-onnxruntime" and jobs[2].model.image_size == 320
    assert FleetJob.model_validate_json(jobs[2].model_dump_json()) == jobs[2]


def test_one_plan_is_a_job_per_model_under_all_profiles(tmp_path):
    jobs = read(tmp_path, one_plan=True).jobs(tmp_path)
    assert [Path(job.folder).name for job in jobs] == ["one_plan"] * 2
    assert [profile.name for profile in jobs[0].profiles] == ["cpu-onnxruntime", "cpu-openvino"]


def test_precisions_are_those_that_an_engine_has(tmp_path):
    """ONNX Runtime has no bf16, OpenVINO has."""
    profiles = read(tmp_path, precisions=["fp32", "bf16"]).device_profiles()
    assert [(profile.name, profile.precision) for profile in profiles] == [
        ("cpu-onnxruntime", "fp32"), ("cpu-openvino", "fp32"), ("cpu-openvino-bf16", "bf16"),
    ]  # fmt: skip


def test_jobs_of_one_device_follow_each_other_and_those_of_others_do_not(tmp_path):
    (tmp_path / "pi.yaml").write_text(yaml.safe_dump({"name": "pi", "engine": "onnxruntime", "host": "pi@board"}))
    jobs = read(tmp_path, profiles=["cpu-onnxruntime", str(tmp_path / "pi.yaml"), "cpu-openvino"]).jobs(tmp_path)
    devices = by_device(jobs)
    assert list(devices) == [(None,), ("pi@board",)]
    assert [job.profiles[0].name for job in devices[None,]] == ["cpu-onnxruntime", "cpu-openvino"] * 2


def test_every_mistake_has_a_line(tmp_path):
    assert mistakes(tmp_path, modles=[]) == ["modles: unknown key, did you mean 'models'?"]
    assert mistakes(tmp_path, profiles=..., budgets=...) == [
        "budgets: this key is required and missing", "profiles: this key is required and missing"
    ]  # fmt: skip
    assert mistakes(tmp_path, models=[]) == ["models: expected one or more, got an empty list"]
    assert mistakes(tmp_path, budgets=["fast"]) == [
        "budgets: budget 'fast': expected a speed-up such as 2 or 2x, or a latency such as 8ms"
    ]
    assert mistakes(tmp_path, budgets=[2, "2x"]) == ["budgets: the budget 2x is given 2 times; give each once"]
    assert mistakes(tmp_path, models=[{"source": "a:b", "imagesize": 3}]) == [
        "models.0.imagesize: unknown key, did you mean 'image_size'?"
    ]
    assert mistakes(tmp_path, models=["timm/a", "torchvision/a"]) == [
        "models: 2 of them would write the folder a; give each a name"
    ]
    assert mistakes(tmp_path, models=[{"name": "nothing"}]) == [
        "models.0: give exactly one of 'source' (what `prune` takes) and 'recipe' (a recipe's file)"
    ]
    assert mistakes(tmp_path, models=[{"recipe": "r.yaml", "task": "pose"}]) == [
        "models.0: task: only for 'source'; a recipe says these itself"
    ]
    assert mistakes(tmp_path, models=[{"recipe": "r.yaml"}], one_plan=True) == [
        "one_plan: the recipe r.yaml is run as a whole under each profile; for one plan name its further devices in "
        "the recipe, under budget.also"
    ]
    assert mistakes(tmp_path, precisions=["int4"]) == [
        "precisions: no engine of the profiles has 'int4'; leave it out, or add a profile"
    ]
    assert mistakes(tmp_path, profiles=["cpu-openvino", "cpu-openvino"]) == [
        "profiles: 'cpu-openvino' is there 2 times; give each once, or name it anew"
    ]
    assert mistakes(tmp_path, profiles=["cpu-openvion"])[0].startswith("unknown profile 'cpu-openvion' (did you mean ")


def test_a_file_that_is_none(tmp_path):
    with pytest.raises(InputError, match="does not exist; expected the path of a YAML file"):
        read_sweep(tmp_path / "none.yaml")
    (tmp_path / "list.yaml").write_text("- 1")
    with pytest.raises(InputError, match="the file: expected a mapping of keys"):
        read_sweep(tmp_path / "list.yaml")
