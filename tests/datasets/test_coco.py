import json

import numpy as np
import pytest
from PIL import Image

from deploy_prune.datasets import write_digits
from deploy_prune.datasets.coco import check_coco_pictures, read_coco
from deploy_prune.datasets.scene import compose_scene, crowd
from deploy_prune.datasets.sources import load_sources
from deploy_prune.errors import InputError


@pytest.fixture
def folder(tmp_path):
    return write_digits("coco", tmp_path / "set", train=4, val=2, image_size=64)


def test_the_embedded_set_has_the_boxes_and_pixels_of_its_scenes(folder):
    found = read_coco(folder, masks=True)
    check_coco_pictures(found)
    assert found.classes == tuple("0123456789")
    assert [len(found.splits[split]) for split in ("train", "val")] == [4, 2]
    for index, image in enumerate(found.splits["train"]):
        rng = np.random.default_rng(np.random.SeedSequence(0, spawn_key=(0, index)))
        scene = compose_scene(load_sources()["train"], 64, crowd(rng), rng)
        assert [one.label for one in image.objects] == [one.label for one in scene.instances]
        assert [one.box for one in image.objects] == [one.box for one in scene.instances]
        for one, drawn in zip(image.objects, scene.instances, strict=True):
            overlap = (image.mask(one) & drawn.visible).sum() / (image.mask(one) | drawn.visible).sum()
            assert overlap > 0.95  # outlines pass between pixels, and rasterising rounds


def test_run_lengths_are_read_and_crowds_need_no_outline(folder):
    path = folder / "annotations" / "instances_val.json"
    content = json.loads(path.read_text())
    # Column by column: 64 zeros (the first column), then 2 ones, then the rest.
    content["annotations"][0]["segmentation"] = {"size": [64, 64], "counts": [64, 2, 64 * 64 - 66]}
    content["annotations"][1] |= {"iscrowd": 1, "segmentation": None}
    path.write_text(json.dumps(content))
    image = read_coco(folder, masks=True).splits["val"][0]
    assert np.argwhere(image.mask(image.objects[0])).tolist() == [[0, 1], [1, 1]]
    assert [one.crowd for one in image.objects][:2] == [False, True]


def test_names_may_go_on_after_the_split_and_categories_need_not_be_dense(folder):
    for split in ("train", "val"):
        path = folder / "annotations" / f"instances_{split}.json"
        content = json.loads(path.read_text())
        for entry in content["categories"]:
            entry["id"] *= 10
        for entry in content["annotations"]:
            entry["category_id"] *= 10
        path.unlink()
        path.with_name(f"instances_{split}2017.json").write_text(json.dumps(content))
        (folder / "images" / split).rename(folder / f"{split}2017")
    found = read_coco(folder)
    assert found.classes == tuple("0123456789")
    assert {one.label for image in found.splits["train"] for one in image.objects} <= set(range(10))


def edit(folder, change, split="val"):
    path = folder / "annotations" / f"instances_{split}.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def on(key, **values):
    """Set values of the second entry of a list."""
    return lambda folder: edit(folder, lambda content: content[key][1].update(values))


def without(key, *path):
    def change(content):
        for step in path:
            content = content[step]
        del content[key]

    return lambda folder: edit(folder, change)


FILE = "instances_val.json"
BAD = {
    "not JSON": (
        lambda f: (f / "annotations" / FILE).write_text('{\n"images": ['),
        f"{FILE} is not valid JSON, line 2: Expecting value",
    ),
    "a list": (lambda f: (f / "annotations" / FILE).write_text("[]"), f"{FILE} is list; expected an object"),
    "no annotations": (without("annotations"), f"{FILE} has no key 'annotations'; expected COCO's format"),
    "no bbox": (without("bbox", "annotations", 1), "annotations[1] has no key 'bbox'"),
    "bbox of text": (on("annotations", bbox=["a", 1, 2, 3]), "annotations[1]: bbox is ['a', 1, 2, 3]; expected [x, y"),
    "bbox of three": (on("annotations", bbox=[1, 2, 3]), "annotations[1]: bbox is [1, 2, 3]; expected [x, y"),
    "image id": (on("annotations", image_id=99), "annotations[1]: image_id 99 is no image's id"),
    "category": (
        on("annotations", category_id=77),
        "annotations[1]: category_id 77 is no category's id; expected one of 1, 2, 3, 4, 5 and 5 more",
    ),
    "no area": (on("annotations", bbox=[5, 5, 0, 9]), "annotations[1]: bbox [5, 5, 0, 9] has no area"),
    "outside": (
        on("annotations", bbox=[60, 5, 9, 9]),
        "annotations[1]: bbox [60, 5, 9, 9] lies outside of 00000.jpg, 64 x 64 pixels",
    ),
    "no outline": (on("annotations", segmentation=[]), "annotations[1]: segmentation is []; expected polygons"),
    "two points": (
        on("annotations", segmentation=[[1, 1, 2, 2]]),
        "annotations[1]: segmentation is [[1, 1, 2, 2]]; expected polygons",
    ),
    "run lengths": (
        on("annotations", segmentation={"size": [9, 9], "counts": [81]}),
        "annotations[1]: the run lengths have size [9, 9]; expected the picture's [height, width], [64, 64]",
    ),
    "no picture": (on("images", file_name="x.jpg"), "images[1]: the picture {f}/images/val/x.jpg is not there"),
    "same id": (on("images", id=1), "images[1]: the id 1 is used before"),
    "text for a number": (on("images", width="64"), "images[1]: width is '64'; expected int"),
    "no objects": (lambda f: edit(f, lambda c: c.update(annotations=[])), f"{FILE}: annotations is empty"),
    "no images": (lambda f: edit(f, lambda c: c.update(images=[], annotations=[])), f"{FILE}: images is empty"),
    "categories unlike": (
        on("categories", name="two"),
        "unlike categories: train 1 0, 2 1, 3 2, 4 3, 5 4 and 5 more, val 1 0, 2 two, 3 2, 4 3, 5 4 and 5 more",
    ),
    "no json": (lambda f: (f / "annotations" / FILE).unlink(), "annotations holds none for instances_val*.json"),
    "no folder": (lambda f: (f / "images" / "val").rename(f / "else"), "no folder holds the pictures of"),
    "corrupt JPEG": (
        lambda f: (f / "images/val/00001.jpg").write_bytes((f / "images/val/00001.jpg").read_bytes()[:900]),
        "images/val/00001.jpg cannot be decoded",
    ),
    "another size": (
        lambda f: Image.new("RGB", (64, 48)).save(f / "images/val/00001.jpg"),
        "images/val/00001.jpg has 64 x 48 pixels, and its json says 64 x 64",
    ),
}


@pytest.mark.parametrize("harm", BAD)
def test_bad_data_is_refused_in_one_line_that_names_file_and_entry(harm, folder):
    do, message = BAD[harm]
    do(folder)
    with pytest.raises(InputError) as caught:
        check_coco_pictures(read_coco(folder, masks=True))
    assert message.format(f=folder) in str(caught.value)
    assert "\n" not in str(caught.value)
