"""Recipes: what they accept, and the exact line for every mistake."""

from pathlib import Path

import pytest
import yaml

from deploy_prune.errors import InputError
from deploy_prune.pipeline.recipe import parse_overrides, read_recipe, write_recipe

GOOD = {
    "name": "tiny",
    "task": "detect",
    "model": "yolov8n.yaml",
    "data": {"name": "digits", "train": 4},
    "budget": {"speedup": 2},
}


def write(path, **changes):
    settings = {key: value for key, value in {**GOOD, **changes}.items() if value is not ...}
    path.write_text(yaml.safe_dump(settings))
    return path


def mistakes(path, *overrides):
    with pytest.raises(InputError) as caught:
        read_recipe(path, parse_overrides(overrides))
    return [line.removeprefix(f"{path}: ") for line in str(caught.value).splitlines()]


def test_a_good_recipe_has_its_values_and_defaults(tmp_path):
    recipe = read_recipe(write(tmp_path / "r.yaml"))
    assert (recipe.budget.speedup, recipe.budget.latency_ms) == (2.0, None)
    assert (recipe.data.train, recipe.data.val, recipe.profile) == (4, 200, "cpu-onnxruntime")


def test_a_written_recipe_reads_back_equal(tmp_path):
    recipe = read_recipe(write(tmp_path / "r.yaml"), {"finetune.distil": True})
    write_recipe(recipe, tmp_path / "again.yaml")
    assert read_recipe(tmp_path / "again.yaml") == recipe


def test_overrides_replace_single_values(tmp_path):
    changes = parse_overrides(["train.epochs=3", "budget.speedup=null", "budget.latency_ms=4.5"])
    recipe = read_recipe(write(tmp_path / "r.yaml"), changes)
    assert (recipe.train.epochs, recipe.budget.speedup, recipe.budget.latency_ms) == (3, None, 4.5)


def test_further_limits_are_read_and_written_again(tmp_path):
    also = [{"profile": "cpu-openvino", "speedup": 1.8}]
    budget = {"speedup": 2, "max_params": 1.5e6, "equal_widths": [["a", "b"]], "also": also}
    recipe = read_recipe(write(tmp_path / "r.yaml", budget=budget))
    assert recipe.budget.sizes() == {
        "max_macs": None, "max_mac_share": None, "max_params": 1.5e6, "max_file_mib": None, "max_memory_mib": None,
        "min_width": 0.0, "equal_widths": (("a", "b"),),
    }  # fmt: skip
    assert [(one.profile, one.speedup, one.latency_ms) for one in recipe.budget.also] == [("cpu-openvino", 1.8, None)]
    write_recipe(recipe, tmp_path / "again.yaml")
    assert read_recipe(tmp_path / "again.yaml") == recipe


def test_own_data_needs_a_path_alone(tmp_path):
    recipe = read_recipe(write(tmp_path / "r.yaml", data={"path": "mine.yaml", "image_size": 640}))
    assert (recipe.data.path, recipe.data.image_size) == ("mine.yaml", 640)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"budgets": 1}, "budgets: unknown key, did you mean 'budget'?"),
        ({"train": {"epoch": 3}}, "train.epoch: unknown key, did you mean 'epochs'?"),
        (
            {"train": {"zzz": 3}},
            "train.zzz: unknown key; known keys: epochs, batch, lr0, mosaic, fliplr, min_scale, "
            "jitter, "
            "optimizer, weight_decay, warmup_epochs, ema_decay, precision, patience, workers, processes",
        ),
        ({"train": {"epochs": "three"}}, "train.epochs: expected a whole number, got 'three'"),
        ({"train": {"epochs": True}}, "train.epochs: expected a whole number, got True"),
        ({"train": {"epochs": -1}}, "train.epochs: expected greater than or equal to 0, got -1"),
        ({"train": 3}, "train: expected a mapping of keys, got 3"),
        ({"model": 8}, "model: expected a text, got 8"),
        ({"model": ...}, "model: this key is required and missing"),
        (
            {"task": "detct"},
            "task: unknown task 'detct': did you mean 'detect'? expected "
            "detect, segment, semantic, classify, pose, obb, or my_task.py:MyTask",
        ),
        ({"finetune": {"distil": "yes"}}, "finetune.distil: expected true or false, got 'yes'"),
        ({"budget": {"speedup": "fast"}}, "budget.speedup: expected a number, got 'fast'"),
        ({"budget": {"speedup": 0.5}}, "budget.speedup: expected greater than 1, got 0.5"),
        ({"budget": {"speedup": float("inf")}}, "budget.speedup: expected a finite number, got inf"),
        (
            {"budget": {"speedup": 2, "latency_ms": 3}},
            "budget: give exactly one of 'speedup' and 'latency_ms' (null takes the other one away)",
        ),
        ({"budget": {"speedup": 2, "max_params": 0}}, "budget.max_params: expected greater than 0, got 0"),
        ({"budget": {"speedup": 2, "max_param": 1e6}}, "budget.max_param: unknown key, did you mean 'max_params'?"),
        ({"budget": {"speedup": 2, "also": 3}}, "budget.also: expected a list, got 3"),
        (
            {"budget": {"speedup": 2, "also": [{"speedup": 2}]}},
            "budget.also.0.profile: this key is required and missing",
        ),
        (
            {"budget": {"speedup": 2, "also": [{"profile": "a", "speedup": 2, "latencyms": 1}]}},
            "budget.also.0.latencyms: unknown key, did you mean 'latency_ms'?",
        ),
        (
            {"budget": {"speedup": 2, "also": [{"profile": "a"}]}},
            "budget.also.0: give exactly one of 'speedup' and 'latency_ms' (null takes the other one away)",
        ),
        (
            {"budget": {"speedup": 2, "max_macs": 1e9, "max_mac_share": 0.5}},
            "budget: give at most one of 'max_macs' and 'max_mac_share'",
        ),
        ({"budget": {"speedup": 2, "equal_widths": ["a"]}}, "budget.equal_widths.0: expected a list, got 'a'"),
        (
            {"data": {}},
            "data: give exactly one of 'name' (embedded images) and 'path' (your own data set)",
        ),
        (
            {"data": {"path": "mine.yaml", "train": 3}},
            "data: train: only for 'name'; your own data set has its sizes",
        ),
        (
            {"importance": "fisher", "search": {"calibration_images": 0}},
            "importance fisher needs gradients: set search.calibration_images above 0",
        ),
        (
            {"recover": {"images": 16}},
            "recover.images is 16 and data.train 4; recovery cannot have more images than there are",
        ),
        ({"recover": {"images": 2}}, "recover.images: expected greater than or equal to 8, got 2"),
        (
            {"name": "../elsewhere"},
            "name: expected letters, digits, '.', '_' or '-', beginning with a letter or digit, got '../elsewhere'",
        ),
    ],
)
def test_each_mistake_is_one_clear_line(tmp_path, changes, line):
    assert mistakes(write(tmp_path / "r.yaml", **changes)) == [line]


def test_all_mistakes_are_reported_at_once(tmp_path):
    path = write(tmp_path / "r.yaml", task="x", seed="y", finetune={"epoch": 1})
    assert [line.split(":")[0] for line in mistakes(path)] == ["task", "finetune.epoch", "seed"]


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("train.epochs", "override 'train.epochs': expected key=value, for example train.epochs=3"),
        (
            "model.epochs=3",
            "cannot set model.epochs: 'model' is 'yolov8n.yaml' in the recipe, not a section",
        ),
        ("train.epochs=[", "override 'train.epochs=[': '[' is not a YAML value"),
        ("train.epoch=3", "train.epoch: unknown key, did you mean 'epochs'?"),
    ],
)
def test_a_bad_override_is_one_clear_line(tmp_path, override, line):
    assert mistakes(write(tmp_path / "r.yaml"), override) == [line]


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (None, "recipe {path} does not exist; expected the path of a YAML file"),
        (b"a: [", "recipe {path} is not valid YAML: while parsing"),
        (b"\xff\xfe\x00", "recipe {path} cannot be read: 'utf-8' codec"),
        (b"- a\n", "recipe {path}: expected a mapping of keys, got list"),
        (b"", "recipe {path}: expected a mapping of keys, got NoneType"),
    ],
)
def test_an_unreadable_file_is_one_clear_line(tmp_path, content, line):
    path = tmp_path / "r.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_recipe(path)
    assert str(caught.value).startswith(line.format(path=path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("path", sorted((Path(__file__).parents[2] / "pipelines").glob("*.yaml")), ids=str)
def test_shipped_recipes_are_valid(path):
    assert read_recipe(path).name == path.stem


def test_formats_and_precisions_are_read_and_written_again(tmp_path):
    asked = {"format": "onnx, openvino", "half": True, "nms": True}
    recipe = read_recipe(write(tmp_path / "r.yaml", export=asked))
    assert (recipe.export.format, recipe.export.precisions) == (("onnx", "openvino"), ("fp32", "fp16"))
    assert "formats" not in recipe.stages_left_out
    assert "formats" in read_recipe(write(tmp_path / "plain.yaml")).stages_left_out
    write_recipe(recipe, tmp_path / "again.yaml")
    assert read_recipe(tmp_path / "again.yaml") == recipe


def test_only_detectors_choose_among_boxes(tmp_path):
    changes = {"task": "segment", "model": "yolov8n-seg.yaml", "export.nms": True}
    with pytest.raises(InputError, match=r"export\.nms: only files of YOLO detectors can choose among their boxes"):
        read_recipe(write(tmp_path / "r.yaml"), changes)
