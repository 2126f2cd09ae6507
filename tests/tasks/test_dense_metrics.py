import pytest
import torch

from deploy_prune.tasks.dense_metrics import mean_average_precision, mean_iou


def test_mean_iou_is_of_all_pixels_of_all_images():
    predicted = torch.tensor([[[0, 0], [1, 1]], [[1, 1], [1, 1]]])
    true = torch.tensor([[[0, 1], [1, 1]], [[1, 1], [1, 0]]])
    # Class 0: 1 pixel shared, 3 in either. Class 1: 5 shared, 7 in either.
    expected = (1 / 3 + 5 / 7) / 2
    assert mean_iou([(predicted, true)], 2, 255) == pytest.approx(expected)
    apart = [(predicted[:1], true[:1]), (predicted[1:], true[1:])]
    assert mean_iou(apart, 2, 255) == pytest.approx(expected)


def test_void_pixels_and_classes_that_are_nowhere_do_not_count():
    predicted, true = torch.tensor([[[0, 0], [1, 1]]]), torch.tensor([[[0, 255], [1, 1]]])
    assert mean_iou([(predicted, true)], 7, 255) == pytest.approx(1.0)
    # Class 2 is only predicted: nothing shared. Class 0: 1 of 1. Class 1: 1 of 2.
    predicted = torch.tensor([[[0, 0], [1, 2]]])
    assert mean_iou([(predicted, true)], 7, 255) == pytest.approx((1 + 1 / 2 + 0) / 3)


def objects(boxes, labels, scores=None, **more):
    found = {"boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4), "labels": torch.tensor(labels).long()}
    return found | more | ({"scores": torch.tensor(scores, dtype=torch.float32)} if scores is not None else {})


BOX, OTHER = [0, 0, 10, 10], [20, 20, 30, 30]


def test_average_precision_by_hand():
    # One of two objects is found, with certainty: precision is 1 up to recall 0.5, at 51 of COCO's 101 recalls.
    pair = objects([BOX], [0], [0.9]), objects([BOX, OTHER], [0, 0])
    assert mean_average_precision([pair], "bbox") == pytest.approx(51 / 101)


def test_the_mean_is_over_thresholds_of_iou():
    # 78 of 100 square pixels are shared: right at 0.5, 0.55, ..., 0.75, wrong at 0.8 to 0.95.
    pair = objects([[0, 0, 10, 7.8]], [0], [0.9]), objects([BOX], [0])
    assert mean_average_precision([pair], "bbox") == pytest.approx(6 / 10)


def test_the_mean_is_over_classes_and_false_alarms_cost_precision():
    # Class 0: the false alarm comes first, so precision is 1/2 at every recall. Class 1: perfect.
    pair = objects([OTHER, BOX, BOX], [0, 0, 1], [0.9, 0.8, 0.7]), objects([BOX, BOX], [0, 1])
    assert mean_average_precision([pair], "bbox") == pytest.approx((1 / 2 + 1) / 2)


def test_crowds_do_not_count_and_nothing_found_is_zero():
    crowd = objects([BOX, OTHER], [0, 0], iscrowd=torch.tensor([0, 1]))
    assert mean_average_precision([(objects([BOX, OTHER], [0, 0], [0.8, 0.9]), crowd)], "bbox") == pytest.approx(1.0)
    assert mean_average_precision([(objects([], [], []), objects([BOX], [0]))], "bbox") == 0.0


def test_masks_are_judged_by_their_pixels():
    true, found = (torch.zeros(1, 20, 20, dtype=torch.bool) for _ in range(2))
    true[:, :10, :10] = True
    found[:, :10, :9] = True
    found[:, :2, 9] = True  # IoU 0.92: right at 0.5 to 0.9, wrong at 0.95
    pair = objects([BOX], [0], [0.9], masks=found), objects([BOX], [0], masks=true)
    assert mean_average_precision([pair], "segm") == pytest.approx(0.9)
