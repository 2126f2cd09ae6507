"""From a recipe to a task: libraries, settings, and a task of the user's own as docs/tasks.md shows it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from deploy_prune.errors import InputError
from deploy_prune.pipeline.recipe import Recipe, read_recipe
from deploy_prune.pipeline.task_choice import embedded_format, make_task
from deploy_prune.tasks.classification import TRAINING, ClassificationTask
from deploy_prune.tasks.ultralytics import UltralyticsTask

ROOT = Path(__file__).parents[2]
EXAMPLE, RECIPE = re.search(
    r"```python\n(.*?)```\n\n```yaml\n(.*?)```", (ROOT / "docs/tasks.md").read_text(), re.S
).groups()


def recipe(**changes):
    whole = {"name": "r", "task": "classify", "model": "torchvision/resnet18", "data": {"name": "digits"},
             "budget": {"speedup": 2.0}, **changes}  # fmt: skip
    return Recipe.model_validate(whole)


@pytest.fixture
def own(tmp_path):
    (tmp_path / "my_task.py").write_text(EXAMPLE)
    return tmp_path


@pytest.mark.parametrize("path", sorted((ROOT / "pipelines").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_recipe_of_the_repository_makes_a_task(path, tmp_path):
    read = read_recipe(path)
    task = make_task(read, tmp_path)
    assert (task.name, read.name) == (read.task, path.stem)


def test_a_classifier_has_what_the_recipe_says(tmp_path):
    made = make_task(
        recipe(train={"lr0": 0.01, "fliplr": 0.5}, finetune={"patience": 3}, seed=4, data={"path": "x"}), tmp_path
    )
    assert isinstance(made, ClassificationTask)
    assert made.training.lr0 == 0.01 and made.finetuning.patience == 3 and made.augmentation.fliplr == 0.5
    assert made.training.batch == TRAINING.batch and made.seed == 4
    assert made.data == Path("x") and made.image_size is None


def test_a_yolo_network_stays_with_ultralytics(tmp_path):
    made = make_task(recipe(task="detect", model="yolov8n.yaml", train={"mosaic": 1.0}), tmp_path)
    assert isinstance(made, UltralyticsTask) and made.training.mosaic == 1.0
    assert made.data == tmp_path / "data.yaml"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train": {"mosaic": 0.5}}, "train.mosaic: this task has no such setting; it has batch, ema_decay, fliplr"),
        ({"finetune": {"jitter": 0.1}}, "finetune.jitter: this task has no such setting"),
        ({"task": "detect", "model": "yolov8n.yaml", "train": {"precision": "x"}}, "train.precision: this task has no"),
        ({"train": {"optimizer": "Adam"}}, "unknown optimizer 'Adam'"),
    ],
)
def test_settings_of_another_task_are_refused(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        make_task(recipe(**changes), tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": "pose"}, "torchvision/resnet18 is for detect, segment, semantic, classify, and the task is pose"),
        ({"task": "detect", "model": "yolov8n.yaml", "weights": "a.pt"}, "weights: only for models torchvision/NAME"),
    ],
)
def test_recipes_that_contradict_themselves_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        recipe(**changes)


def test_difficulties_are_formats():
    data = {"name": "digits", "difficulty": "hard"}
    assert embedded_format(recipe(data=data)) == "classify-hard"
    assert embedded_format(recipe(data=data | {"difficulty": "plain"})) == "digits"
    assert embedded_format(recipe()) == "classify"


def test_the_documented_example_trains_exports_and_is_scored(own):
    script = """
import torch
from pathlib import Path
from deploy_prune.pipeline.recipe import read_recipe
from deploy_prune.pipeline.task_choice import make_task
torch.set_num_threads(1)
task = make_task(read_recipe(Path("mine.yaml"), {"train.epochs": 3}), Path("."))
trained = task.train(task.build(), Path("work"), epochs=3)
task.save(trained, Path("net.pt"))
module, file = task.evaluate(trained), task.evaluate(task.export_onnx(trained, Path("net.onnx")))
assert module.name == "accuracy" and module.value == file.value > 0.8, (module, file)
"""
    (own / "mine.yaml").write_text(RECIPE)
    done = subprocess.run([sys.executable, "-c", script], cwd=own, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    reopened = (
        "task = make_task(read_recipe(Path('mine.yaml')), Path('.')); print(task.evaluate(task.load(Path('net.pt'))))"
    )
    script = script.split("torch.set")[0] + reopened
    done = subprocess.run([sys.executable, "-c", script], cwd=own, capture_output=True, text=True, check=False)
    assert done.stdout.startswith("Metric(name='accuracy'"), done.stderr


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ("none.py:MyTask", "no such file: .*none.py"),
        ("my_task.py:Other", "has no class 'Other'"),
        ("my_task.py:load_digits", "cannot be called with"),
        ("broken.py:MyTask", "cannot be imported: ZeroDivisionError"),
        ("plain.py:MyTask", "is no TorchTask; derive it from"),
    ],
)
def test_own_tasks_that_cannot_be_used_are_refused(own, task, message):
    (own / "broken.py").write_text("1 / 0")
    (own / "plain.py").write_text("class MyTask:\n    def __init__(self, *arguments): pass")
    with pytest.raises(InputError, match=message):
        make_task(recipe(task=f"{own}/{task}", model="net", data=yaml.safe_load("path: .")), own)
