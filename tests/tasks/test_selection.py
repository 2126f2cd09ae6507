import pytest
import torch

from deploy_prune.tasks.selection import GONE, select_detections, suppress

A, NEAR_A, FAR = [0.0, 0, 10, 10], [0.0, 0, 10, 9], [20.0, 20, 30, 30]


def test_the_lower_of_two_boxes_of_a_class_goes():
    boxes = torch.tensor([NEAR_A, A, FAR])
    scores = torch.tensor([[0.6, 0.005], [0.9, 0.0], [0.0, 0.3]])
    found = select_detections(boxes, scores)
    assert found["boxes"].tolist() == [A, FAR]
    assert found["labels"].tolist() == [0, 1]
    assert found["scores"].tolist() == pytest.approx([0.9, 0.3])


def test_boxes_of_unlike_classes_do_not_compete_and_may_differ_by_class():
    boxes = torch.tensor([[A, NEAR_A], [FAR, FAR]])
    found = select_detections(boxes, torch.tensor([[0.9, 0.8], [0.0, 0.0]]), torch.tensor([[[1.0]], [[2.0]]]))
    assert found["boxes"].tolist() == [A, NEAR_A]
    assert found["masks"].tolist() == [[[1.0]], [[1.0]]]


def test_suppressed_scores_keep_their_order_and_no_two_are_equal():
    boxes = torch.tensor([[A, FAR, NEAR_A, A]])
    result = suppress(boxes, torch.tensor([[3.0, 2.0, 1.0, -1.0]]), 0.5, tie=0.25)
    assert result.tolist() == [[3.0, 2.0, GONE - 2.25, GONE - 3.25]]


def test_a_box_without_area_is_neither_kept_back_nor_a_division_by_zero():
    boxes = torch.zeros(1, 2, 4)
    assert suppress(boxes, torch.tensor([[2.0, 1.0]]), 0.5).tolist() == [[2.0, 1.0]]
