"""Every fault of a data set is one line before any training, with the file and the line of it."""

import shutil
from pathlib import Path

import pytest
from PIL import Image

from deploy_prune.datasets import write_digits
from deploy_prune.errors import InputError
from deploy_prune.tasks.ultralytics import UltralyticsTask
from deploy_prune.tasks.ultralytics_data import open_data
from deploy_prune.tasks.ultralytics_faults import check_data

TASKS = ("detect", "segment", "pose", "obb", "classify")


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    root = tmp_path_factory.mktemp("sets")
    return {task: write_digits(task, root / task, train=10, val=10, image_size=32) for task in TASKS}


@pytest.fixture
def copy(originals, tmp_path):
    """A function: task -> what a training of it is given, in a folder of its own."""

    def make(task):
        source = originals[task]
        folder = shutil.copytree(source if task == "classify" else source.parent, tmp_path / "set")
        return folder if task == "classify" else folder / source.name

    return make


def said(task, source):
    with pytest.raises(InputError) as caught:
        check_data(task, open_data(task, source), source)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("task", TASKS)
def test_sound_data_sets_pass(copy, task):
    source = copy(task)
    check_data(task, open_data(task, source), source)


@pytest.mark.parametrize("task", ["detect", "segment", "pose", "obb"])
def test_a_faulty_line_is_named_by_file_and_number(copy, task):
    source = copy(task)
    labels = source.parent / "labels/train/00004.txt"
    count = len(labels.read_text().splitlines())
    labels.write_text(labels.read_text() + "1 0.5 0.5\n")
    assert said(task, source).startswith(f"{labels}, line {count + 1}: 3 columns; expected ")


def test_further_faulty_files_are_counted(copy):
    source = copy("detect")
    for number in (1, 3, 7):
        (source.parent / f"labels/val/0000{number}.txt").write_text("12 .5 .5 .1 .1\n")
    first = source.parent / "labels/val/00001.txt"
    reason = "line 1: class 12; the data set has classes 0 to 9"
    assert said("detect", source) == f"{first}, {reason}; 2 more of 10 images have faults"


def test_labels_that_are_no_text(copy):
    source = copy("detect")
    (source.parent / "labels/train/00000.txt").write_bytes(b"\xff\xfe0\x00")
    assert "labels/train/00000.txt: cannot be read as text" in said("detect", source)


def test_some_images_without_objects_are_fine_but_not_all(copy):
    source = copy("detect")
    labels = sorted((source.parent / "labels/train").iterdir())
    labels[0].unlink()
    labels[1].write_text("\n")
    check_data("detect", open_data("detect", source), source)
    for path in labels[1:]:
        path.write_text("")
    labels[0].write_text("")
    wanted = "expected a line per object of 5 (class x y w h) columns"
    assert said("detect", source) == f"{source}: all label files of the train split are empty, as {labels[0]}; {wanted}"
    shutil.rmtree(source.parent / "labels/train")
    image = source.parent / "images/train/00000.jpg"
    assert said("detect", source) == (
        f"{source}: no train image has a label file; that of {image} would be {labels[0]}"
    )


def cut(path):
    path.write_bytes(path.read_bytes()[:-40])


def zeros(path):
    path.write_bytes(bytes(len(path.read_bytes())))


@pytest.mark.parametrize("task", ["detect", "classify"])
@pytest.mark.parametrize(
    ("harm", "damage"),
    [
        (cut, "a damaged picture (image file is truncated"),
        (zeros, "no picture, or a damaged one"),
        (lambda path: path.write_bytes(b""), "an empty file"),
        (lambda path: path.write_text("<html>not found</html>"), "no picture, or a damaged one"),
    ],
)
def test_damaged_pictures(copy, task, harm, damage):
    source = copy(task)
    image = sorted((source if task == "classify" else source.parent / "images").glob("val/**/*.jpg"))[2]
    harm(image)
    assert said(task, source).startswith(f"{image}: {damage}")
    assert said(task, source).endswith("; replace it or take it out of the data set")


def test_a_cut_png_is_damaged_and_bytes_behind_a_picture_are_not(copy):
    source = copy("detect")
    image = source.parent / "images/train/00000.jpg"
    image.write_bytes(image.read_bytes() + bytes(100))
    drawn = image.with_suffix(".png")
    Image.open(image).save(drawn)
    image.unlink()
    check_data("detect", open_data("detect", source), source)
    cut(drawn)
    assert said("detect", source).startswith(f"{drawn}: a damaged picture (")


def test_listed_images_that_are_missing(copy):
    source = copy("detect")
    folder = source.parent
    (folder / "train.txt").write_text("./images/train/00001.jpg\n./images/train/00099.jpg\n")
    source.write_text(source.read_text().replace("train: images/train", "train: train.txt"))
    assert said("detect", source).startswith(f"{folder}/images/train/00099.jpg: no such file; replace it")


@pytest.mark.parametrize("split", ["train", "val"])
def test_an_empty_split(copy, split):
    source = copy("obb")
    for image in (source.parent / "images" / split).iterdir():
        image.unlink()
    where = source.parent / "images" / split
    assert said("obb", source) == f"{source}: no images found in {where}, the {split} split; expected .jpg, .png ..."


def test_an_empty_split_of_folders(copy):
    source = copy("classify")
    for image in (source / "val").rglob("*.jpg"):
        image.unlink()
    assert said("classify", source).startswith(f"{source}: no images found in {source / 'val'}, the val split")
    shutil.rmtree(source / "val")
    assert said("classify", source) == (
        f"{source} has no val/CLASS/; expected a folder there with the images of each class"
    )


def test_folders_that_are_no_class(copy):
    source = copy("classify")
    (source / "val" / "7").rename(source / "val" / "seven")
    assert said("classify", source).startswith(f"{source}/val/seven is no class: {source}/train has folders for 0, 1,")


def test_a_class_without_images(copy):
    source = copy("classify")
    for image in (source / "train" / "3").iterdir():
        image.unlink()
    assert said("classify", source).startswith(f"{source / 'train' / '3'} holds no images")


def test_a_folder_of_classes_is_not_divided(copy):
    source = copy("classify")
    before = sorted(source.parent.rglob("*"))
    assert "has no train/CLASS/" in said("classify", source / "train")
    assert said("classify", source.parent / "none").startswith("no such data folder: ")
    assert sorted(source.parent.rglob("*")) == before


def test_pose_data_without_their_shape(copy):
    source = copy("detect")
    assert (
        said("pose", source)
        == f"{source} has no kpt_shape; add how many keypoints of how many values, as kpt_shape: [17, 3]"
    )


def test_nothing_is_trained_on_a_faulty_data_set(copy, tmp_path):
    source = copy("detect")
    task = UltralyticsTask(source, image_size=32)
    model = task.build()
    zeros(source.parent / "images/val/00002.jpg")
    with pytest.raises(InputError, match=r"val/00002.jpg: no picture, or a damaged one"):
        task.train(model, tmp_path / "run", epochs=1)
    assert not list((tmp_path / "run").iterdir())
    with pytest.raises(InputError, match=r"val/00002.jpg: no picture, or a damaged one"):
        task.calibration_inputs(1)
    assert not Path("runs").exists()
