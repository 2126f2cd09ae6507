"""A saved pruned network in a process that has Ultralytics and no deploy_prune."""

import os
import subprocess
import sys

import pytest

USE = """
import sys
sys.modules["deploy_prune"] = None  # as if it were not installed
from ultralytics import YOLO
from ultralytics.nn.tasks import SAFE_LOAD

path, data, image = sys.argv[1:4]
model = YOLO(path)
assert model.model.model[2].m[0].cv1.conv.out_channels == 8
model.predict(image, imgsz=64, verbose=False)
print("map", model.val(data=data, imgsz=64, plots=False, verbose=False).box.map)
print("export", model.export(format="onnx", imgsz=64))
print("safe", SAFE_LOAD)
try:
    model.train(data=data, epochs=1, imgsz=64, plots=False)
except KeyError as error:
    print("refused", error)
"""
TRAIN = """
import sys
from ultralytics import YOLO
from deploy_prune.tasks.ultralytics import pruned_trainer

path, data, out = sys.argv[1:4]
model = YOLO(path)
trainer = pruned_trainer("detect")
model.train(trainer=trainer, data=data, epochs=1, imgsz=64, batch=4, plots=False, project=out)
assert YOLO(model.trainer.best).model.model[2].m[0].cv1.conv.out_channels == 8
try:
    YOLO(model.trainer.best).train(data=data, epochs=1)
except KeyError as error:
    print("refused", error)
"""


@pytest.fixture
def pruned(task, narrow, tmp_path):
    return task.save(narrow, tmp_path / "pruned.pt")


def run(code, *arguments, cwd, **environment):
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=os.environ | {"YOLO_OFFLINE": "true", "YOLO_AUTOINSTALL": "false", "OMP_NUM_THREADS": "1"} | environment,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("safe", ["false", "true"])
def test_loads_predicts_validates_exports_and_refuses_to_regrow(pruned, data, tmp_path, safe):
    image = next((data.parent / "images" / "val").iterdir())
    said = run(USE, pruned, data, image, cwd=tmp_path, ULTRALYTICS_SAFE_LOAD=safe)
    assert f"safe {safe.title()}" in said
    assert f"export {pruned.with_suffix('.onnx')}" in said
    assert "this network was pruned by deploy_prune" in said
    assert "pruned_trainer(" in said


def test_one_line_of_ours_trains_it_as_it_is(pruned, data, tmp_path):
    said = run(TRAIN, pruned, data, tmp_path / "run", cwd=tmp_path)
    assert "this network was pruned by deploy_prune" in said
