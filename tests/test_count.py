import torch
from torch import nn

from deploy_prune.count import count, count_ops_and_params


def test_convolution_and_linear_by_hand():
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5))
    counted = count(model, torch.rand(2, 3, 8, 8))
    convolution, linear = 2 * 64 * 4 * 3 * 9, 2 * 4 * 5
    assert counted.macs == convolution + linear
    assert counted.layers["0"] == convolution and counted.layers["3"] == linear and counted.layers[""] == counted.macs
    assert counted.params == 4 * 3 * 9 + 4 + 4 * 5 + 5
    assert count_ops_and_params(model, torch.rand(2, 3, 8, 8)) == (counted.macs, counted.params)


def test_attention_is_counted_in_spite_of_its_fast_path():
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    tokens, d, hidden = 6, 8, 16
    projections, scores, feed_forward = tokens * d * 4 * d, 2 * tokens * tokens * d, 2 * tokens * d * hidden
    assert count(layer, torch.rand(1, tokens, d)).macs == projections + scores + feed_forward
    assert torch.backends.mha.get_fastpath_enabled()
