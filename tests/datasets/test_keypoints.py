import numpy as np

from deploy_prune.datasets.keypoints import HIDDEN, MIRRORED, NAMES, VISIBLE, extreme_points


def test_extreme_pixels_worked_out_by_hand():
    whole = np.array(
        [
            [0, 0, 1, 1, 1, 0],
            [0, 1, 1, 0, 0, 0],
            [1, 1, 0, 0, 0, 1],
            [0, 0, 1, 1, 1, 1],
        ],
        bool,
    )
    visible = whole.copy()
    visible[2, 0] = False
    points = dict(zip(NAMES, extreme_points(whole, visible).tolist(), strict=True))
    assert points["top"] == [3.5, 0.5, VISIBLE]  # the middle one of columns 2 to 4
    assert points["bottom"] == [4.5, 3.5, VISIBLE]  # columns 2 to 5: the third of four
    assert points["left"] == [0.5, 2.5, HIDDEN]
    assert points["right"] == [5.5, 3.5, VISIBLE]  # rows 2 and 3: the second of two


def test_a_mirror_exchanges_left_and_right():
    whole = np.zeros((5, 7), bool)
    whole[1, 3] = whole[3, 1] = whole[4, 4] = whole[2, 6] = True
    points, mirrored = extreme_points(whole, whole), extreme_points(whole[:, ::-1], whole[:, ::-1])
    mirrored[:, 0] = 7 - mirrored[:, 0]
    assert np.array_equal(mirrored[list(MIRRORED)], points)
