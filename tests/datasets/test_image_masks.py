import numpy as np
import pytest
from PIL import Image

from deploy_prune.datasets import write_digits
from deploy_prune.datasets.image_masks import VOID, check_image_masks, list_image_masks
from deploy_prune.errors import InputError


@pytest.fixture
def folder(tmp_path):
    return write_digits("semantic", tmp_path / "set", train=3, val=2, image_size=64)


def test_the_embedded_set_is_read_with_its_classes(folder):
    found = list_image_masks(folder)
    check_image_masks(found)
    assert found.classes == ("background", *"0123456789")
    assert [len(found.splits[split]) for split in ("train", "val")] == [3, 2]
    assert found.splits["train"][1].mask == folder / "masks" / "train" / "00001.png"


def paint(path, value, size=(64, 64), mode="L"):
    Image.fromarray(np.full(size, value, np.uint8)).convert(mode).save(path)


def test_void_pixels_are_no_class(folder):
    paint(folder / "masks/val/00001.png", VOID)
    check_image_masks(list_image_masks(folder))


def test_a_palette_picture_gives_its_numbers(folder):
    image = Image.fromarray(np.full((64, 64), 7, np.uint8), mode="P")
    image.putpalette([0, 0, 0] * 7 + [255, 0, 0])
    image.save(folder / "masks/val/00001.png")
    check_image_masks(list_image_masks(folder))


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


BAD = {
    "no mask": (lambda f: (f / "masks/val/00001.png").unlink(), "images/val/00001.jpg has no mask; expected"),
    "no picture": (lambda f: (f / "images/val/00001.jpg").unlink(), "masks/val/00001.png has no picture; expected"),
    "empty split": (
        lambda f: [path.unlink() for path in (f / "images/val").iterdir()],
        "no picture lies in {f}/images/val; expected files such as a.jpg",
    ),
    "no classes": (lambda f: (f / "classes.txt").unlink(), "classes.txt cannot be read"),
    "one class": (lambda f: (f / "classes.txt").write_text("sky\n"), "classes.txt names 1 classes; expected 2 to 255"),
    "sizes": (
        lambda f: paint(f / "masks/train/00002.png", 0, (32, 64)),
        "masks/train/00002.png has 64 x 32 pixels and its picture 64 x 64; expected the same size",
    ),
    "label": (
        lambda f: paint(f / "masks/train/00002.png", 11),
        "masks/train/00002.png holds the class 11, but classes.txt names 11; expected 0 to 10, or 255",
    ),
    "colours": (
        lambda f: paint(f / "masks/train/00002.png", 1, mode="RGB"),
        "masks/train/00002.png has pixels of mode RGB; expected a grey or palette PNG",
    ),
    "corrupt JPEG": (lambda f: cut(f / "images/train/00000.jpg"), "images/train/00000.jpg cannot be decoded"),
    "corrupt PNG": (lambda f: cut(f / "masks/train/00000.png"), "masks/train/00000.png cannot be decoded"),
    "no image at all": (
        lambda f: (f / "images/train/00000.jpg").write_text("text"),
        "images/train/00000.jpg is no picture; take it away",
    ),
    "shared mask": (
        lambda f: paint(f / "images/train/00000.png", 0),
        "images/train/00000.jpg and {f}/images/train/00000.png would share",
    ),
}


@pytest.mark.parametrize("harm", BAD)
def test_bad_data_is_refused_in_one_line_that_names_the_file(harm, folder):
    do, message = BAD[harm]
    do(folder)
    with pytest.raises(InputError) as caught:
        check_image_masks(list_image_masks(folder))
    assert message.format(f=folder) in str(caught.value)
    assert "\n" not in str(caught.value)
