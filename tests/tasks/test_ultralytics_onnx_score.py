"""The score of the exported file is that of the module, on networks that have learnt something."""

import shutil

import pytest

from deploy_prune.datasets import write_digits
from deploy_prune.tasks.schedule import Schedule
from deploy_prune.tasks.ultralytics import UltralyticsTask

# per task: the network, and epochs of four steps each until its score on what it was trained on is far from zero
LEARNING = {
    "detect": ("yolo11n.yaml", 60),
    "segment": ("yolov8n-seg.yaml", 60),
    "classify": ("yolov8n-cls.yaml", 40),
    "pose": ("yolo11n-pose.yaml", 100),
    "obb": ("yolov8n-obb.yaml", 60),
}


def learn_by_heart(name, folder):
    """A task of sixteen images that are judged, too, and a network trained on them."""
    data = write_digits(name, folder / "set", train=16, val=10, image_size=64)
    if name == "classify":
        shutil.rmtree(data / "val")
        shutil.copytree(data / "train", data / "val")
    else:
        data.write_text(data.read_text().replace("val: images/val", "val: images/train"))
    model, epochs = LEARNING[name]
    still = Schedule(batch=4, lr0=2e-3, scale=0.0, translate=0.0, hsv_h=0.0, hsv_s=0.0, hsv_v=0.0)
    task = UltralyticsTask(data, task=name, model=model, image_size=64, training=still)
    return task, task.train(task.build(), folder / "run", epochs=epochs)


@pytest.mark.slow
@pytest.mark.parametrize("name", LEARNING)
def test_file_and_module_agree_to_half_a_point(name, tmp_path):
    task, model = learn_by_heart(name, tmp_path)
    module, file = task.evaluate(model), task.evaluate(task.export_onnx(model, tmp_path / "a.onnx"))
    assert module.name == file.name
    assert module.value > 0.03
    assert file.value == pytest.approx(module.value, abs=0.005)
