import hashlib
import json
import math
import shutil

import numpy as np
import pytest
import yaml
from PIL import Image

from deploy_prune.datasets import TASKS, write_digits
from deploy_prune.datasets.scene import compose_scene, crowd
from deploy_prune.datasets.sources import load_sources
from deploy_prune.errors import InputError

SMALL = {"train": 12, "val": 10, "image_size": 64}


def contents(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def origins(folder):
    """Digits, and pixels of photographs as (photo, column), by split."""
    digits, columns = {"train": set(), "val": set()}, {"train": set(), "val": set()}
    for origin in json.loads((folder / "dataset.json").read_text())["origins"]:
        split = next(part for part in origin["image"].split("/") if part in digits)
        digits[split].update(origin["digits"])
        if background := origin["background"]:
            span = range(background["left"], background["left"] + background["side"])
            columns[split].update((background["photo"], column) for column in span)
    return digits, columns


@pytest.mark.parametrize("task", TASKS)
def test_same_arguments_give_the_same_bytes(task, tmp_path):
    first = write_digits(task, tmp_path / "a", **SMALL)
    write_digits(task, tmp_path / "b", **SMALL)
    assert first.exists()
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert not list(tmp_path.glob(".*"))


def test_another_seed_gives_other_pictures(tmp_path):
    write_digits("detect", tmp_path / "a", **SMALL)
    write_digits("detect", tmp_path / "b", **SMALL, seed=1)
    mine, other = contents(tmp_path / "a"), contents(tmp_path / "b")
    assert mine["images/train/00000.jpg"] != other["images/train/00000.jpg"]


def test_a_longer_data_set_begins_with_the_shorter(tmp_path):
    write_digits("detect", tmp_path / "a", **SMALL)
    write_digits("detect", tmp_path / "b", **SMALL | {"train": 14})
    name = "images/train/00011.jpg"
    assert contents(tmp_path / "a")[name] == contents(tmp_path / "b")[name]


@pytest.mark.parametrize("task", TASKS)
def test_train_and_val_share_no_digit_and_no_piece_of_photograph(task, tmp_path):
    write_digits(task, tmp_path / "a", train=120, val=60, image_size=48)
    write_digits(task, tmp_path / "b", train=10, val=60, image_size=48, seed=5)
    digits, columns = origins(tmp_path / "a")
    others, other_columns = origins(tmp_path / "b")
    assert digits["train"] and digits["val"]
    # Not even the val set of another seed holds what this one trains on.
    assert digits["train"].isdisjoint(digits["val"] | others["val"])
    assert columns["train"].isdisjoint(columns["val"] | other_columns["val"])


def test_detection_labels_are_the_boxes_of_the_composed_scene(tmp_path):
    folder = write_digits("detect", tmp_path / "d", **SMALL).parent
    for index in range(5):
        chance = np.random.SeedSequence(0, spawn_key=(0, index))
        rng = np.random.default_rng(chance)
        scene = compose_scene(load_sources()["train"], 64, crowd(rng), rng)
        rows = [line.split() for line in (folder / f"labels/train/{index:05d}.txt").read_text().splitlines()]
        assert [int(row[0]) for row in rows] == [one.label for one in scene.instances]
        x, y, width, height = np.array([row[1:] for row in rows], float).T * 64
        corners = np.stack([x - width / 2, y - height / 2, x + width / 2, y + height / 2], axis=1)
        assert np.allclose(corners, [one.box for one in scene.instances], atol=1e-3)
        picture = np.asarray(Image.open(folder / f"images/train/{index:05d}.jpg"), float)
        assert np.abs(picture - scene.image).mean() < 3  # JPEG's own loss, of 255


@pytest.mark.parametrize(
    ("task", "columns"),
    [("detect", {5}), ("segment", set(range(9, 2000, 2))), ("pose", {17}), ("obb", {9})],
)
def test_yolo_lines_parse_and_lie_in_the_picture(task, columns, tmp_path):
    folder = write_digits(task, tmp_path / "d", **SMALL).parent
    labels, images = sorted(folder.glob("labels/*/*.txt")), sorted(folder.glob("images/*/*.jpg"))
    assert [(p.parent.name, p.stem) for p in labels] == [(p.parent.name, p.stem) for p in images]
    assert len(labels) == SMALL["train"] + SMALL["val"]
    for path in labels:
        for line in path.read_text().splitlines():
            label, *shares = line.split()
            assert int(label) in range(10)
            assert 1 + len(shares) in columns
            if task == "pose":
                assert set(shares[6::3]) <= {"1", "2"}
                del shares[6::3]
            assert all(0 <= float(share) <= 1 for share in shares)


def test_keypoints_are_the_ends_of_the_box_where_nothing_is_hidden(tmp_path):
    folder = write_digits("pose", tmp_path / "p", **SMALL).parent
    rows = [line.split() for path in folder.glob("labels/*/*.txt") for line in path.read_text().splitlines()]
    seen, half = 0, 0.5 / 64  # a keypoint is its pixel's centre
    for _, *values in rows:
        x, y, width, height = map(float, values[:4])
        points = np.array(values[4:], float).reshape(4, 3)
        if set(points[:, 2]) == {2}:
            ends = [points[0, 1] - half, points[1, 1] + half, points[2, 0] - half, points[3, 0] + half]
            assert np.allclose(ends, [y - height / 2, y + height / 2, x - width / 2, x + width / 2], atol=1e-5)
            seen += 1
    assert 10 < seen < len(rows)


def test_oriented_boxes_are_rectangles_turned_both_ways(tmp_path):
    folder = write_digits("obb", tmp_path / "o", **SMALL).parent
    angles = []
    for path in folder.glob("labels/*/*.txt"):
        for line in path.read_text().splitlines():
            corners = 64 * np.array(line.split()[1:], float).reshape(4, 2)
            right, down = corners[1] - corners[0], corners[3] - corners[0]
            assert abs(right @ down) < 0.01 and np.allclose(corners[2], corners[0] + right + down, atol=0.001)
            angles.append(math.degrees(math.atan2(-right[1], right[0])))
    assert max(angles) > 40 and min(angles) < -40 and max(map(abs, angles)) <= 60


def test_ultralytics_reads_keypoints_and_corners(tmp_path):
    data = pytest.importorskip("ultralytics.data.utils")
    found = data.check_det_dataset(str(write_digits("pose", tmp_path / "p", **SMALL)))
    assert found["kpt_shape"] == [4, 3] and found["flip_idx"] == [0, 1, 3, 2] and len(found["kpt_names"]) == 10


def test_semantic_masks_hold_class_plus_one_and_fit_the_detection_boxes(tmp_path):
    folder = write_digits("semantic", tmp_path / "s", **SMALL)
    detect = write_digits("detect", tmp_path / "d", **SMALL).parent
    for path in sorted(folder.glob("masks/train/*.png")):
        mask = np.asarray(Image.open(path))
        assert mask.shape == (64, 64) and mask.dtype == np.uint8
        lines = (detect / f"labels/train/{path.stem}.txt").read_text().splitlines()
        assert set(np.unique(mask)) == {0} | {int(line.split()[0]) + 1 for line in lines}
        assert (folder / "images" / "train" / f"{path.stem}.jpg").is_file()


@pytest.mark.parametrize("task", ["classify", "classify-large", "classify-medium", "classify-hard", "digits"])
def test_image_folders_have_every_class_in_both_splits(task, tmp_path):
    folder = write_digits(task, tmp_path / "c", **SMALL)
    for split, count in (("train", 12), ("val", 10)):
        pictures = list((folder / split).glob("*/*.*"))
        assert sorted({path.parent.name for path in pictures}) == [str(digit) for digit in range(10)]
        assert len(pictures) == count
        assert Image.open(pictures[0]).size == (64, 64)


def test_plain_digits_are_each_used_once(tmp_path):
    folder = write_digits("digits", tmp_path / "p", train=1438, val=359, image_size=8)
    record = json.loads((folder / "dataset.json").read_text())
    assert sorted(origin["digits"][0] for origin in record["origins"]) == list(range(1797))


def test_ultralytics_finds_a_moved_data_set(tmp_path, monkeypatch):
    monkeypatch.setenv("YOLO_OFFLINE", "true")
    monkeypatch.setenv("YOLO_AUTOINSTALL", "false")
    data = pytest.importorskip("ultralytics.data.utils")
    written = write_digits("detect", tmp_path / "here", **SMALL)
    assert yaml.safe_load(written.read_text())["names"] == {digit: str(digit) for digit in range(10)}
    shutil.move(tmp_path / "here", tmp_path / "there")
    found = data.check_det_dataset(str(tmp_path / "there" / "data.yaml"))
    assert found["val"] == str(tmp_path / "there" / "images" / "val")
    assert found["nc"] == 10


def test_a_second_call_keeps_what_is_there_and_what_a_training_added(tmp_path):
    written = write_digits("detect", tmp_path / "d", **SMALL)
    before = written.stat().st_mtime_ns
    (tmp_path / "d" / "labels" / "train.cache").write_bytes(b"by a training")
    assert write_digits("detect", tmp_path / "d", **SMALL) == written
    assert written.stat().st_mtime_ns == before


def test_an_empty_folder_is_filled(tmp_path):
    (tmp_path / "d").mkdir()
    assert write_digits("detect", tmp_path / "d", **SMALL).is_file()


def refusal(folder, task="detect", **arguments):
    with pytest.raises(InputError) as caught:
        write_digits(task, folder, **SMALL | arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_folder_that_holds_something_else_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    assert refusal(tmp_path) == f"{tmp_path} is not empty and no data set of ours: choose another folder"
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_another_data_set_of_ours_is_refused_with_its_arguments(tmp_path):
    write_digits("detect", tmp_path / "d", **SMALL)
    assert refusal(tmp_path / "d", seed=1) == (
        f"{tmp_path / 'd'} holds another data set (version 1 with task detect, train 12, val 10, "
        "image_size 64, seed 0): delete it or choose another"
    )


@pytest.mark.parametrize("harm", [lambda path: path.write_bytes(b""), lambda path: path.unlink()])
def test_a_harmed_data_set_is_refused(tmp_path, harm):
    write_digits("detect", tmp_path / "d", **SMALL)
    harm(tmp_path / "d" / "labels" / "val" / "00003.txt")
    assert "holds this data set, but files were changed or lost: delete it" in refusal(tmp_path / "d")


@pytest.mark.parametrize("record", ["{", "[]", '{"schema": 1}', '{"schema": 1, "request": 3, "files": 4, "sha256": 5}'])
def test_a_broken_record_is_refused(tmp_path, record):
    (tmp_path / "dataset.json").write_text(record)
    assert str(tmp_path) in refusal(tmp_path)


def test_a_file_in_the_way_is_refused(tmp_path):
    (tmp_path / "d").write_text("")
    assert refusal(tmp_path / "d") == f"{tmp_path / 'd'} is a file, expected a folder to write: choose another name"


def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    text = refusal(tmp_path / "file" / "d")
    assert text.startswith(f"cannot write to {tmp_path / 'file'}: ") and text.endswith("; choose another folder")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (
            {"task": "detct"},
            "unknown task 'detct': did you mean 'detect'? choose one of detect, segment, pose, obb, classify",
        ),
        ({"task": "x"}, "unknown task 'x': choose one of detect, segment, pose, obb, classify, semantic, coco, digits"),
        ({"train": 0}, "train is 0, expected at least 1 image"),
        ({"val": -3}, "val is -3, expected at least 1 image"),
        ({"val": 2.5}, "val is 2.5, expected a whole number"),
        ({"train": True}, "train is True, expected a whole number"),
        ({"image_size": 31}, "image_size is 31, expected at least 32 pixels"),
        ({"seed": -1}, "seed is -1, expected at least 0"),
        ({"task": "classify", "val": 9}, "val is 9, expected at least 10 images, one for each class"),
        ({"task": "digits", "val": 360}, "val is 360, but has only 359 plain digits: ask for 359 or fewer"),
    ],
)
def test_arguments_out_of_range_are_refused_before_anything_is_written(tmp_path, arguments, text):
    assert refusal(tmp_path / "d", **arguments).startswith(text)
    assert not list(tmp_path.iterdir())


def test_an_interrupted_writing_leaves_nothing(tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("deploy_prune.datasets.write.write_record", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_digits("detect", tmp_path / "d", **SMALL)
    assert not list(tmp_path.iterdir())
