"""Multiply-accumulates against answers worked out by hand from the dimensions."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from deploy_prune.count import count, count_ops_and_params


def macs(model, *inputs):
    return count(model, inputs).macs


def test_convolution_and_linear():
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5))
    counted = count(model, torch.rand(2, 3, 8, 8))
    convolution, linear = 2 * 64 * 4 * 3 * 9, 2 * 4 * 5
    assert counted.macs == convolution + linear
    assert counted.layers == {"": counted.macs, "0": convolution, "3": linear}
    assert counted.weights == {"0.weight": convolution, "3.weight": linear}
    assert counted.params == 4 * 3 * 9 + 4 + 4 * 5 + 5


@pytest.mark.parametrize(
    ("layer", "shape", "expected"),
    [
        (nn.Conv2d(4, 6, 3, groups=2), (1, 4, 5, 5), 9 * 6 * 2 * 9),
        (nn.Conv2d(4, 8, 3, groups=4, padding=1), (2, 4, 5, 5), 2 * 25 * 8 * 1 * 9),
        (nn.Conv2d(4, 6, 3, stride=2, dilation=2), (1, 4, 9, 9), 9 * 6 * 4 * 9),
        (nn.Conv1d(3, 5, 4), (2, 3, 10), 2 * 7 * 5 * 3 * 4),
        (nn.Conv3d(2, 3, 3), (1, 2, 4, 5, 6), 2 * 3 * 4 * 3 * 2 * 27),
        (nn.ConvTranspose2d(4, 6, 2, stride=2), (1, 4, 5, 5), 25 * 4 * 6 * 4),
        (nn.ConvTranspose2d(4, 6, 3, groups=2), (1, 4, 5, 5), 25 * 4 * 3 * 9),
        (nn.Linear(3, 4), (2, 5, 3), 2 * 5 * 3 * 4),
        (nn.Linear(3, 4, bias=False), (3,), 3 * 4),
        (nn.BatchNorm2d(4), (1, 4, 5, 5), 0),
    ],
)
def test_layers(layer, shape, expected):
    counted = count(layer, torch.rand(shape))
    assert counted.macs == expected == sum(counted.weights.values())
    assert layer.training


def test_bilinear():
    assert macs(nn.Bilinear(3, 4, 5), torch.rand(2, 3), torch.rand(2, 4)) == 2 * 3 * 4 * 5


def test_embeddings_multiply_nothing():
    assert macs(nn.Embedding(10, 4), torch.tensor([1, 2])) == 0


LENGTH, BATCH, FEATURES, HIDDEN = 5, 2, 3, 4
STEPS = LENGTH * BATCH


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (nn.LSTM(FEATURES, HIDDEN), STEPS * 4 * HIDDEN * (FEATURES + HIDDEN)),
        (nn.GRU(FEATURES, HIDDEN), STEPS * 3 * HIDDEN * (FEATURES + HIDDEN)),
        (nn.RNN(FEATURES, HIDDEN), STEPS * HIDDEN * (FEATURES + HIDDEN)),
        (
            nn.LSTM(FEATURES, HIDDEN, num_layers=2, bidirectional=True),
            STEPS * 2 * 4 * HIDDEN * (FEATURES + HIDDEN + 2 * HIDDEN + HIDDEN),
        ),
        pytest.param(
            nn.LSTM(FEATURES, HIDDEN, proj_size=2),
            STEPS * (4 * HIDDEN * (FEATURES + 2) + HIDDEN * 2),
            marks=pytest.mark.filterwarnings("ignore:LSTM with projections"),
        ),
    ],
)
def test_recurrent_layers(layer, expected):
    counted = count(layer, torch.rand(LENGTH, BATCH, FEATURES))
    assert counted.macs == expected == sum(counted.weights.values())


def test_recurrent_weights_share_by_size():
    counted = count(nn.LSTM(FEATURES, HIDDEN), torch.rand(LENGTH, BATCH, FEATURES))
    assert counted.weights == {
        "weight_ih_l0": STEPS * 4 * HIDDEN * FEATURES,
        "weight_hh_l0": STEPS * 4 * HIDDEN * HIDDEN,
    }


class Attention(nn.Module):
    def __init__(self, **options):
        super().__init__()
        self.options = options

    def forward(self, query, key, value):
        return F.scaled_dot_product_attention(query, key, value, **self.options)


@pytest.mark.parametrize("options", [{}, {"is_causal": True}, {"attn_mask": torch.zeros(6, 6)}])
def test_scaled_dot_product_attention(options):
    inputs = [torch.rand(2, 4, 6, 8) for _ in range(3)]
    assert macs(Attention(**options), *inputs) == 2 * 4 * 6 * 6 * (8 + 8)


def test_scaled_dot_product_attention_with_fewer_keys_and_other_values():
    """Four query heads share two of the keys; keys are 8 wide, values 3, as in the path without a fused kernel."""
    query, key, value = torch.rand(1, 4, 6, 8), torch.rand(1, 2, 5, 8), torch.rand(1, 2, 5, 3)
    assert macs(Attention(enable_gqa=True), query, key, value) == 4 * 6 * 5 * (8 + 3)


@pytest.mark.parametrize("need_weights", [True, False])
def test_multihead_attention(need_weights):
    class Layer(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

        def forward(self, x):
            return self.attention(x, x, x, need_weights=need_weights)[0]

    counted = count(Layer(), torch.rand(1, 6, 8))
    assert counted.macs == 6 * 8 * (3 * 8 + 8) + 2 * 6 * 6 * 8
    assert counted.weights == {
        "attention.in_proj_weight": 6 * 8 * 3 * 8,
        "attention.out_proj.weight": 6 * 8 * 8,
    }


def test_attention_of_other_keys_multiplies_with_parts_of_one_weight():
    counted = count(nn.MultiheadAttention(8, 2, batch_first=True), (torch.rand(1, 6, 8), *[torch.rand(1, 5, 8)] * 2))
    assert counted.weights == {"in_proj_weight": (6 + 5 + 5) * 8 * 8, "out_proj.weight": 6 * 8 * 8}


def test_a_transformer_layer_is_counted_in_spite_of_its_fast_path():
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    tokens, d, hidden = 6, 8, 16
    projections, scores, feed_forward = tokens * d * 4 * d, 2 * tokens * tokens * d, 2 * tokens * d * hidden
    assert count(layer, torch.rand(1, tokens, d)).macs == projections + scores + feed_forward
    assert torch.backends.mha.get_fastpath_enabled()


def test_deformable_convolution():
    ops = pytest.importorskip("torchvision.ops")
    layer = ops.DeformConv2d(4, 6, 3, groups=2, padding=1)
    assert macs(layer, torch.rand(2, 4, 5, 5), torch.rand(2, 18, 5, 5)) == 2 * 25 * 6 * 2 * 9


class Tied(nn.Module):
    """An embedding whose weight is also the head; one layer under two names, called twice."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(10, 4)
        self.first = nn.ModuleDict({"layer": nn.Linear(4, 4)})
        self.second = nn.ModuleDict({"layer": self.first["layer"]})
        self.head = nn.Linear(4, 10, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, tokens):
        return self.head(self.second["layer"](self.first["layer"](self.embedding(tokens))))


def test_what_is_tied_has_its_parameters_once_and_its_macs_twice():
    counted = count(Tied(), torch.tensor([[1, 2, 3]]))
    assert counted.params == 10 * 4 + 4 * 4 + 4
    assert counted.layers == {"": 3 * (2 * 16 + 40), "first.layer": 3 * 2 * 16, "head": 3 * 40}
    assert counted.weights == {"embedding.weight": 3 * 40, "first.layer.weight": 3 * 2 * 16}


def test_a_computed_weight_is_the_layers_own():
    model = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 3)), nn.Conv2d(4, 2, 1))
    counted = count(model, torch.rand(1, 3, 5, 5))
    assert counted.weights == {"0.parametrizations.weight.original1": 9 * 4 * 3 * 9, "1.weight": 9 * 4 * 2}


def test_a_layer_made_in_the_forward_counts_for_the_model():
    class Made(nn.Module):
        def forward(self, x):
            return nn.Linear(4, 6)(x)

    counted = count(Made(), torch.rand(1, 4))
    assert (counted.layers, counted.weights) == ({"": 24}, {})


def test_layer_wise_as_torch_pruning_returns_it():
    model = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.ReLU(), nn.Conv2d(4, 2, 1))
    first, second = 36 * 4 * 3 * 9, 36 * 4 * 2
    ops, params, layer_ops, layer_params = count_ops_and_params(model, torch.rand(5, 3, 8, 8), layer_wise=True)
    assert (ops, params) == (first + second, 4 * 27 + 4 * 2 + 2) == count_ops_and_params(model, torch.rand(1, 3, 8, 8))
    assert layer_ops == {model: ops, model[0]: first, model[1]: 0, model[2]: second}
    assert layer_params == {model: params, model[0]: 4 * 27, model[1]: 0, model[2]: 4 * 2 + 2}


def test_the_numbers_of_resnet18():
    """He et al., 2016, table 1, say 1.8e9 multiply-adds; worked out per stage from the dimensions."""
    models = pytest.importorskip("torchvision.models")
    stem, head = 112 * 112 * 64 * 3 * 49, 512 * 1000
    stage = 56 * 56 * 64 * 64 * 9  # one 3×3 convolution; every stage halves the side and doubles the channels
    expected = stem + 4 * stage + 3 * (stage // 2 + 3 * stage + stage // 18) + head
    assert macs(models.resnet18(weights=None), torch.rand(1, 3, 224, 224)) == expected
