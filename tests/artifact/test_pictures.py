"""Pictures become what the tasks themselves give to the network: photographs, neither square nor of its size."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_images

from deploy_prune.artifact.inference.pictures import Placement, prepare, resize_bilinear, scaled_positions
from deploy_prune.artifact.inference.refusal import RefusalError
from deploy_prune.tasks.classification import ClassificationTask
from deploy_prune.tasks.semantic import SemanticTask
from deploy_prune.tasks.ultralytics import UltralyticsTask

CHINA, FLOWER = load_sample_images().images  # (427, 640, 3)
TURNED = 6  # EXIF: to be turned right by a quarter


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """A wide one, an upright one that is tiny, and one that is upright by its EXIF alone."""
    folder = tmp_path_factory.mktemp("photographs")
    Image.fromarray(CHINA).save(folder / "a.jpg", quality=95, subsampling=0)
    Image.fromarray(FLOWER[::9, ::17]).save(folder / "b.png")
    exif = Image.Exif()
    exif[0x0112] = TURNED
    Image.fromarray(FLOWER).save(folder / "c.jpg", quality=95, subsampling=0, exif=exif)
    return folder


def levels_off(usage):
    """Mean difference of each sample from the task's own input, in levels of 255."""
    how = usage.preprocessing.model_dump(mode="json")
    return [255 * np.abs(prepare(one.picture, how)[0] - one.inputs.numpy()).mean() for one in usage.samples]


def test_letterbox_is_that_of_ultralytics(photographs, tmp_path):
    for split in ("train", "val"):
        (tmp_path / "images" / split).mkdir(parents=True)
        (tmp_path / "labels" / split).mkdir(parents=True)
        for path in photographs.iterdir():
            (tmp_path / "images" / split / path.name).write_bytes(path.read_bytes())
            (tmp_path / "labels" / split / f"{path.stem}.txt").write_text("0 0.5 0.5 0.25 0.5\n")
    (tmp_path / "data.yaml").write_text("train: images/train\nval: images/val\nnames: {0: thing}\n")
    task = UltralyticsTask(tmp_path / "data.yaml", image_size=160)
    usage = task.usage(3)
    assert [Path(one.picture).name for one in usage.samples] == ["a.jpg", "b.png", "c.jpg"]
    assert max(levels_off(usage)) < 0.5
    boxes = [one.label.objects[0].box for one in usage.samples]
    wide, upright = (240, 106.75, 400, 320.25), (160.12, 160, 266.88, 480)
    assert boxes[0] == pytest.approx(wide, abs=0.01) and boxes[2] == pytest.approx(upright, abs=0.01)


def test_crop_is_that_of_the_classifier(photographs, tmp_path):
    for split in ("train", "val"):
        for name in ("first", "second"):
            (tmp_path / split / name).mkdir(parents=True)
            for path in photographs.iterdir():
                (tmp_path / split / name / path.name).write_bytes(path.read_bytes())
    task = ClassificationTask(tmp_path, "torchvision/resnet18", image_size=96)
    usage = task.usage(6)
    assert [one.label.class_number for one in usage.samples] == [0, 0, 0, 1, 1, 1]
    assert max(levels_off(usage)) < 0.5
    yolo = UltralyticsTask(tmp_path, "classify", "yolo11n-cls.yaml", image_size=96)
    assert max(levels_off(yolo.usage(6))) < 0.5


def test_stretch_is_that_of_segmentation(photographs, tmp_path):
    for split in ("train", "val"):
        (tmp_path / "images" / split).mkdir(parents=True)
        (tmp_path / "masks" / split).mkdir(parents=True)
        for path in photographs.iterdir():
            (tmp_path / "images" / split / path.name).write_bytes(path.read_bytes())
            with Image.open(path) as image:
                size = image.size
            Image.new("L", size).save(tmp_path / "masks" / split / f"{path.stem}.png")
    (tmp_path / "classes.txt").write_text("nothing\nthing\n")
    task = SemanticTask(tmp_path, "torchvision/lraspp_mobilenet_v3_large", image_size=96)
    assert max(levels_off(task.usage(3))) < 0.5


def test_bilinear_by_hand():
    row = np.array([[0.0, 10.0, 30.0]])
    assert resize_bilinear(row, np.zeros(1), np.array([-1, 0.5, 1.25, 5])).tolist() == [[0, 5, 15, 30]]
    assert scaled_positions(2, 4).tolist() == [0.5, 2.5] and scaled_positions(4, 2).tolist() == [
        -0.25,
        0.25,
        0.75,
        1.25,
    ]


def test_points_go_back_to_the_picture():
    placement = Placement(width=640, height=480, scale_x=0.5, scale_y=0.25, left=8, top=20)
    assert placement.to_picture(np.array([[8, 20], [328, 140]])).tolist() == [[0, 0], [640, 480]]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.jpg", None, "cannot be read as a picture"),
        ("broken.png", b"\x89PNG\r\n\x1a\nrest", "is no picture"),
        ("text.jpg", b"text", "is no picture; give a JPEG or PNG"),
    ],
)
def test_what_is_no_picture_is_refused(name, content, message, tmp_path):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(RefusalError, match=message):
        prepare(tmp_path / name, {"kind": "crop", "size": 8, "exif_orientation": False})


def test_an_array_is_taken_as_it_is_and_another_shape_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(6.0).reshape(1, 2, 3))
    values, _ = prepare(tmp_path / "a.npy", {"kind": "array", "shape": [1, 2, 3]})
    assert values.ravel().tolist() == [0, 1, 2, 3, 4, 5]
    with pytest.raises(RefusalError, match=r"has shape \[1, 2, 3\], and the network takes \[1, 2, 4\]"):
        prepare(tmp_path / "a.npy", {"kind": "array", "shape": [1, 2, 4]})
