"""The suppression that is part of a file, against boxes worked out by hand and against Ultralytics' own."""

import numpy as np
import pytest
import torch
from torch import nn

from deploy_prune.errors import ExportError
from deploy_prune.export.nms import Suppression, append_nms
from deploy_prune.export.onnx import export_onnx
from deploy_prune.export.running import run_file

pytest.importorskip("onnxruntime")
DETECTOR = {"task": "detect"}


class Same(nn.Module):
    def forward(self, data):
        return data + 0.0


def suppressed(raw, folder, **settings):
    """What the file makes of raw outputs (1, 4 + classes, boxes)."""
    source = export_onnx(Same(), raw, folder / "raw.onnx", metadata=DETECTOR)
    (found,) = next(run_file(append_nms(source, folder / "nms.onnx", Suppression(**settings)), raw))
    return found


def test_by_hand(tmp_path):
    # centre x and y, width, height, then the scores of two classes; boxes 0 and 1 overlap by 81 / 119 = 0.68
    boxes = [
        (5, 5, 10, 10, 0.9, 0.0),
        (6, 6, 10, 10, 0.8, 0.3),
        (50, 50, 4, 8, 0.0, 0.6),
        (80, 80, 2, 2, 0.01, 0.02),
    ]
    raw = torch.tensor(boxes).T[None].contiguous()
    found = suppressed(raw, tmp_path, confidence=0.1, iou=0.6, max_detections=5)
    expected = [(0, 0, 10, 10, 0.9, 0), (48, 46, 52, 54, 0.6, 1), (1, 1, 11, 11, 0.3, 1), (0,) * 6, (0,) * 6]
    assert np.allclose(found, [expected])
    found = suppressed(raw, tmp_path, confidence=0.1, iou=0.7, max_detections=2)
    assert np.allclose(found, [[(0, 0, 10, 10, 0.9, 0), (1, 1, 11, 11, 0.8, 0)]])  # more overlap is allowed, fewer rows
    assert not suppressed(raw, tmp_path, confidence=0.95, max_detections=3).any()


def test_the_same_boxes_as_ultralytics(tmp_path):
    pytest.importorskip("ultralytics")
    from ultralytics.utils.nms import non_max_suppression

    random = torch.Generator().manual_seed(0)
    centres, sizes = torch.rand(1, 2, 400, generator=random) * 100, torch.rand(1, 2, 400, generator=random) * 30 + 5
    raw = torch.cat([centres, sizes, torch.rand(1, 3, 400, generator=random)], 1)
    (found,) = suppressed(raw, tmp_path, confidence=0.3, iou=0.5, max_detections=100)
    (theirs,) = non_max_suppression(raw, 0.3, 0.5, max_det=100, multi_label=True)
    assert len(theirs) == 100 and np.allclose(found, theirs.numpy(), atol=1e-4)


def test_other_files_are_refused(tmp_path):
    raw = torch.rand(1, 6, 10)
    other = export_onnx(Same(), raw, tmp_path / "a.onnx", metadata={"task": "segment"})
    with pytest.raises(ExportError, match=r"a\.onnx is no YOLO detector's file.*leave nms out"):
        append_nms(other, tmp_path / "out.onnx")
    several = export_onnx(Same(), torch.rand(2, 6, 10), tmp_path / "b.onnx", metadata=DETECTOR)
    with pytest.raises(ExportError, match=r"outputs of shape \[2, 6, 10\].*export without dynamic"):
        append_nms(several, tmp_path / "out.onnx")
    assert not (tmp_path / "out.onnx").exists()
