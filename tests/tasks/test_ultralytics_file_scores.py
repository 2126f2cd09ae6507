"""The score of exported files of every format is that of the module, on networks that have learnt something."""

import shutil

import pytest

from deploy_prune.datasets import write_digits
from deploy_prune.errors import InputError
from deploy_prune.export.ncnn import write_ncnn
from deploy_prune.export.nms import append_nms
from deploy_prune.export.openvino import write_ir
from deploy_prune.export.parity import check_parity
from deploy_prune.export.pt2 import write_pt2
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


def write_all(task, model, folder):
    """The network's files by format."""
    onnx = task.export_onnx(model, folder / "net.onnx")
    shape = task.example_inputs().shape
    files = {
        "onnx": onnx,
        "open axes": task.export_onnx(model, folder / "open.onnx", dynamic=True),
        "openvino": write_ir(onnx, folder / "net.xml"),
        "pt2": write_pt2(model, task.example_inputs(), folder / "net.pt2"),
        "ncnn": write_ncnn(onnx, folder / "net.ncnn.param", shape),
    }
    return files | ({"nms": append_nms(onnx, folder / "nms.onnx")} if task.name == "detect" else {})


@pytest.mark.slow
@pytest.mark.parametrize("name", LEARNING)
def test_files_and_module_agree_to_half_a_point(name, tmp_path):
    for package in ("openvino", "pnnx", "ncnn"):
        pytest.importorskip(package)
    task, model = learn_by_heart(name, tmp_path)
    module, inputs = task.evaluate(model), task.calibration_inputs(2)
    assert module.value > 0.03
    for form, path in write_all(task, model, tmp_path).items():
        if form != "nms":
            assert check_parity(model, path, inputs).max_rel < 1e-4, form
        file = task.evaluate(path)
        assert file.name == module.name
        assert file.value == pytest.approx(module.value, abs=0.005), form


def test_a_missing_file_is_one_line(tmp_path):
    with pytest.raises(InputError, match=r"no such file: .*a\.xml; expected an exported \.onnx, \.xml, "):
        UltralyticsTask(tmp_path / "data.yaml").evaluate(tmp_path / "a.xml")
