"""Batch norms get the statistics of all batches together."""

import torch
from recovery.parts import noise
from torch import nn

from deploy_prune.recovery.batch_norm import estimate_statistics


def run(model, batch):
    model(batch)


def test_known_mean_and_variance():
    """Channel 0 takes 1, 2, 3 and 6: mean 3, squares 4 + 1 + 0 + 9 over n - 1 = 3; channel 1 always takes 5."""
    norm = nn.BatchNorm1d(2).eval()
    norm.running_mean.fill_(100.0)
    values = torch.tensor([[1.0, 5.0], [2.0, 5.0], [3.0, 5.0], [6.0, 5.0]])
    assert estimate_statistics(norm, values.split(2), run) == 1
    assert norm.running_mean.tolist() == [3.0, 5.0]
    assert torch.allclose(norm.running_var, torch.tensor([14 / 3, 0.0]))
    assert not norm.training and norm.momentum == 0.1


def test_batches_of_any_size_give_the_same():
    images = 3 + 2 * noise(24, 4, 5, 5)
    found = []
    for size in (24, 6):
        norm = nn.BatchNorm2d(4).eval()
        estimate_statistics(norm, images.split(size), run)
        found.append(norm)
    assert torch.allclose(found[0].running_mean, found[1].running_mean, atol=1e-6)
    assert torch.allclose(found[0].running_var, images.transpose(0, 1).flatten(1).var(1), rtol=1e-5)


def test_a_single_value_per_channel_does_not_stop_it():
    """One image whose pooled features have one value per channel: the second norm is judged over the batches."""
    model = nn.Sequential(nn.BatchNorm2d(3), nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(3)).eval()
    assert estimate_statistics(model, noise(8, 3, 4, 4).split(1), run) == 2
    assert model[2].running_mean.isfinite().all()


def test_dropout_stays_off():
    model = nn.Sequential(nn.Dropout(0.5), nn.BatchNorm1d(3)).eval()
    values = noise(64, 3)
    estimate_statistics(model, values.split(16), run)
    assert torch.allclose(model[1].running_mean, values.mean(0), atol=1e-6)
