"""Calibration data of the user's own."""

import numpy as np
import pytest

from deploy_prune.datasets.calibration import IMAGES, read_calibration
from deploy_prune.datasets.pixels import save_png
from deploy_prune.errors import InputError


def test_pictures_are_cut_resized_and_scaled(tmp_path):
    wide = np.zeros((8, 24, 3), np.uint8)
    wide[:, 8:16] = (255, 51, 0)  # what is left when the middle is cut out
    (tmp_path / "sub").mkdir()
    save_png(wide, tmp_path / "sub" / "a.png")
    (tmp_path / "notes.txt").write_text("no picture")
    found = read_calibration(tmp_path, (3, 4, 4))
    assert found.shape == (1, 3, 4, 4) and found.dtype == np.float32
    assert found[0, :, 1:3, 1:3] == pytest.approx(np.broadcast_to([[[1.0]], [[0.2]], [[0.0]]], (3, 2, 2)), abs=0.02)


def test_many_pictures_are_sampled_evenly(tmp_path):
    for i in range(2 * IMAGES):
        save_png(np.full((4, 4, 3), i, np.uint8), tmp_path / f"{i:03}.png")
    found = read_calibration(tmp_path, (3, 4, 4))
    assert (found[:, 0, 0, 0] * 255).round().tolist() == list(range(0, 2 * IMAGES, 2))


def test_an_array_is_taken_whole(tmp_path):
    array = np.arange(24, dtype=np.float64).reshape(2, 3, 2, 2)
    np.save(tmp_path / "a.npy", array)
    np.savez(tmp_path / "a.npz", images=array)
    for name in ("a.npy", "a.npz"):
        found = read_calibration(tmp_path / name, (3, 2, 2))
        assert found.dtype == np.float32 and (found == array).all()


def test_what_cannot_be_used(tmp_path):
    np.save(tmp_path / "small.npy", np.zeros((2, 3, 2, 2)))
    np.savez(tmp_path / "two.npz", a=np.zeros(2), b=np.zeros(2))
    (tmp_path / "bad.npy").write_text("no array")
    (tmp_path / "empty").mkdir()
    for name, shape, message in (
        ("none", (3, 4, 4), "calibration data .*none not found; expected a folder of pictures"),
        ("empty", (3, 4, 4), "no picture lies in .*empty"),
        ("empty", (7,), r"the model takes inputs of shape \(7,\), no pictures; give a .npy"),
        ("small.npy", (3, 4, 4), r"small.npy has shape \(2, 3, 2, 2\); the model takes \(n, 3, 4, 4\)"),
        ("two.npz", (3, 4, 4), "two.npz holds 2 arrays; expected one"),
        ("bad.npy", (3, 4, 4), "bad.npy cannot be read"),
    ):
        with pytest.raises(InputError, match=message):
            read_calibration(tmp_path / name, shape)
