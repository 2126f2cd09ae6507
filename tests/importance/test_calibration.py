import pytest
import torch
from torch import nn

from deploy_prune.errors import InputError
from deploy_prune.importance.calibration import BATCH_ELEMENTS, Calibration


def test_a_tensor_is_split_into_batches_of_sensible_size():
    images = torch.zeros(13, 3, 640, 640)
    assert [len(batch) for batch in Calibration.of(images).batches] == [8, 5]
    assert [len(batch) for batch in Calibration.of(torch.zeros(300, 1, 8, 8)).batches] == [300]
    assert [len(batch) for batch in Calibration.of(torch.zeros(2, BATCH_ELEMENTS + 1)).batches] == [1, 1]


def test_batches_are_split_into_samples_where_their_tensors_agree():
    images, labels = torch.arange(6.0).view(3, 2), torch.tensor([4, 5, 6])
    samples = list(Calibration([(images, labels), {"x": images, "scale": 2}]).samples())
    assert torch.equal(samples[1][0], images[1:2]) and torch.equal(samples[1][1], labels[1:2])
    assert torch.equal(samples[5]["x"], images[2:]) and samples[5]["scale"] == 2 and len(samples) == 6
    uneven = (images, torch.zeros(5))
    assert list(Calibration([uneven]).samples()) == [uneven]


def test_outputs_that_count():
    class Two(nn.Module):
        def forward(self, x):
            return {"scores": x, "ids": torch.ones(1, dtype=torch.long), "features": 2 * x}

    x = torch.ones(1, 2)
    assert len(Calibration([x]).outputs(Two(), x)) == 2
    (scores,) = Calibration([x], output_transform=lambda o: o["scores"]).outputs(Two(), x)
    assert torch.equal(scores, x)


def test_nothing_to_calibrate_on_is_refused():
    with pytest.raises(InputError, match=r"calibration inputs have shape \(0, 3\); expected \(n, …\) with n above 0"):
        Calibration.of(torch.zeros(0, 3))
    with pytest.raises(InputError, match="there are no calibration batches; give at least one"):
        Calibration.of([])
