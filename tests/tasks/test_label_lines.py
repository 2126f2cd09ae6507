import pytest

from deploy_prune.tasks.label_lines import LabelFormat

DETECT = LabelFormat("detect", 3)
SEGMENT = LabelFormat("segment", 3)
OBB = LabelFormat("obb", 3)
POSE = LabelFormat("pose", 3, (2, 3))
FLAT_POSE = LabelFormat("pose", 3, (2, 2))


@pytest.mark.parametrize(
    ("labels", "text"),
    [
        (DETECT, ""),
        (DETECT, "0 0.5 0.5 0.1 0.1\n\n2.0 0 1 1 1.005\n"),  # a class as 2.0, a coordinate that rounding made larger
        (DETECT, "1 0 0 1 0 1 1\n"),  # a polygon, of which a box is made
        (LabelFormat("detect", 3, (2, 3)), "0 .5 .5 .1 .1 .2 .2 2 .3 .3 2\n0 .5 .5 .1 .1\n"),  # keypoints left aside
        (SEGMENT, "1 0 0 1 0 1 1\n0 0 0 1 0 1 1 0 1\n"),
        (OBB, "1 0 0 1 0 1 1 0 1\n"),
        (POSE, "1 .5 .5 .1 .1 .2 .2 2 .3 .3 0\n"),
        (FLAT_POSE, "1 .5 .5 .1 .1 .2 .2 .3 .3\n"),
    ],
)
def test_sound_files(labels, text):
    assert labels.find_fault(text) is None


@pytest.mark.parametrize(
    ("labels", "text", "fault"),
    [
        (DETECT, "0 .5 .5 .1 .1\n0 .5 .5 .1\n", "line 2: 4 columns; expected 5 (class x y w h)"),
        (DETECT, "0 .5 .5 .1 .1 .9\n", "line 1: 6 columns; expected 5 (class x y w h)"),
        (DETECT, "cat .5 .5 .1 .1\n", "line 1: 'cat .5 .5 .1 .1' is not a row of numbers; expected 5 (class x y w h)"),
        (DETECT, "0,.5,.5,.1,.1\n", "line 1: '0,.5,.5,.1,.1' is not a row of numbers; expected 5 (class x y w h)"),
        (DETECT, "\n3 .5 .5 .1 .1\n", "line 2: class 3; the data set has classes 0 to 2"),
        (DETECT, "-1 .5 .5 .1 .1\n", "line 1: class -1; the data set has classes 0 to 2"),
        (DETECT, "0.5 .5 .5 .1 .1\n", "line 1: class 0.5; the data set has classes 0 to 2"),
        (DETECT, "nan .5 .5 .1 .1\n", "line 1: class nan; the data set has classes 0 to 2"),
        (
            DETECT,
            "0 320 .5 .1 .1\n",
            "line 1: coordinate 320; expected a share of the picture's width or height, 0 to 1",
        ),
        (
            DETECT,
            "0 .5 -.02 .1 .1\n",
            "line 1: coordinate -0.02; expected a share of the picture's width or height, 0 to 1",
        ),
        (
            DETECT,
            "0 .5 nan .1 .1\n",
            "line 1: coordinate nan; expected a share of the picture's width or height, 0 to 1",
        ),
        (
            DETECT,
            "0 .5 .5 .1 .1\n1 0 0 1 0 1 1\n",
            "line 2: a box and a polygon in one file; expected boxes alone",
        ),
        (SEGMENT, "0 .5 .5 .1 .1\n", "line 1: 5 columns; expected a class and at least 3 points x y"),
        (SEGMENT, "0 0 0 1 0 1 1 0\n", "line 1: 8 columns; expected a class and at least 3 points x y"),
        (OBB, "0 .5 .5 .1 .1 45\n", "line 1: 6 columns; expected 9 (class x1 y1 x2 y2 x3 y3 x4 y4)"),
        (
            POSE,
            "0 .5 .5 .1 .1\n",
            "line 1: 5 columns; expected 11 (class x y w h and 2 keypoints of 3 values)",
        ),
        (
            POSE,
            "1 .5 .5 .1 .1 .2 .2 2 .3 1.3 0\n",
            "line 1: coordinate 1.3; expected a share of the picture's width or height, 0 to 1",
        ),
        (
            FLAT_POSE,
            "1 .5 .5 .1 .1 .2 .2 2 .3\n",
            "line 1: coordinate 2; expected a share of the picture's width or height, 0 to 1",
        ),
    ],
)
def test_first_faulty_line(labels, text, fault):
    assert labels.find_fault(text) == fault
