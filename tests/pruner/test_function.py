"""Functions that prune one layer alone: the layer computes what it computed, without the channels that went."""

import copy

import pytest
import torch
from torch import nn

import deploy_prune as tp
from deploy_prune.errors import InputError


def lively(layer):
    generator = torch.Generator().manual_seed(0)
    for tensor in (*layer.parameters(), *layer.buffers()):
        if tensor.is_floating_point():
            tensor.data = torch.rand(tensor.shape, generator=generator) + 0.1
    return layer.eval()


def without(data, idxs, axis=1):
    return data.index_select(axis, torch.tensor([i for i in range(data.shape[axis]) if i not in idxs]))


def zeroed(data, idxs):
    data = data.clone()
    data[:, idxs] = 0
    return data


CONVOLUTIONS = [
    nn.Conv2d(6, 8, 3),
    nn.Conv1d(6, 8, 3),
    nn.Conv3d(6, 8, 3),
    nn.ConvTranspose2d(6, 8, 3),
    nn.Conv2d(6, 8, 3, groups=2),
    nn.ConvTranspose2d(6, 8, 3, groups=2),
]


@pytest.mark.parametrize("layer", CONVOLUTIONS, ids=str)
def test_convolutions(layer):
    dense = lively(layer)
    data = torch.rand(2, 6, *[5] * (layer.weight.ndim - 2))
    out, into = [1, 5], [2, 5]  # the same channels of both groups
    pruned = tp.prune_conv_out_channels(copy.deepcopy(dense), out)
    torch.testing.assert_close(pruned(data), without(dense(data), out))
    assert pruned.out_channels == 6
    pruned = tp.prune_conv_in_channels(copy.deepcopy(dense), into)
    torch.testing.assert_close(pruned(without(data, into)), dense(zeroed(data, into)))
    assert pruned.in_channels == 4


@pytest.mark.parametrize(
    "prune",
    [
        tp.prune_depthwise_conv_out_channels,
        tp.prune_depthwise_conv_in_channels,
        tp.prune_conv_out_channels,
        tp.prune_conv_in_channels,
    ],
)
def test_depthwise_convolutions(prune):
    dense, data = lively(nn.Conv2d(6, 6, 3, groups=6)), torch.rand(2, 6, 5, 5)
    pruned = prune(copy.deepcopy(dense), [0, 4])
    torch.testing.assert_close(pruned(without(data, [0, 4])), without(dense(data), [0, 4]))
    assert (pruned.in_channels, pruned.out_channels, pruned.groups) == (4, 4, 4)


def test_linear_and_its_gradient():
    dense, data = lively(nn.Linear(4, 5)), torch.rand(2, 4)
    dense(data).sum().backward()
    pruned = tp.prune_linear_in_channels(copy.deepcopy(dense), [0, 2])
    torch.testing.assert_close(pruned(without(data, [0, 2])), dense(zeroed(data, [0, 2])))
    assert (pruned.in_features, pruned.out_features) == (2, 5)
    expected, gradient = without(dense(data), [1]), without(dense.weight.grad, [1], axis=0)
    tp.prune_linear_out_channels(dense, [1])
    torch.testing.assert_close(dense(data), expected)
    torch.testing.assert_close(dense.weight.grad, gradient)


@pytest.mark.parametrize(
    ("layer", "prune", "size"),
    [
        (nn.BatchNorm2d(6), tp.prune_batchnorm_out_channels, "num_features"),
        (nn.BatchNorm2d(6, affine=False), tp.prune_batchnorm_in_channels, "num_features"),
        (nn.InstanceNorm2d(6, affine=True), tp.prune_instancenorm_out_channels, "num_features"),
        (nn.PReLU(6), tp.prune_prelu_out_channels, "num_parameters"),
    ],
    ids=lambda one: getattr(one, "__name__", str(one)),
)
def test_layers_that_treat_channels_apart(layer, prune, size):
    dense, data = lively(layer), torch.rand(2, 6, 5, 5) - 0.5
    pruned = prune(copy.deepcopy(dense), [0, 3])
    torch.testing.assert_close(pruned(without(data, [0, 3])), without(dense(data), [0, 3]))
    assert getattr(pruned, size) == 4


def test_norms_over_channels_lose_them():
    norm = tp.prune_layernorm_out_channels(lively(nn.LayerNorm([3, 6])), [1])
    assert norm.normalized_shape == (3, 5) == tuple(norm.weight.shape) == tuple(norm.bias.shape)
    norm = tp.prune_layernorm_in_channels(lively(nn.RMSNorm(6)), [1])
    assert norm(torch.rand(2, 5)).shape == (2, 5)
    norm = tp.prune_groupnorm_out_channels(lively(nn.GroupNorm(2, 6)), [0, 4])
    assert norm(torch.rand(1, 4, 3)).shape == (1, 4, 3) and norm.num_channels == 4


def test_a_shared_slope_stays():
    assert tp.prune_prelu_out_channels(nn.PReLU(), [0]).weight.shape == (1,)
    assert tp.function.PrunerBox[nn.PReLU].get_out_channels(nn.PReLU()) is None


def test_embeddings_and_parameters():
    dense = nn.Embedding(7, 4)
    pruned = tp.prune_embedding_out_channels(copy.deepcopy(dense), [3])
    assert torch.equal(pruned(torch.tensor([5])), dense(torch.tensor([5]))[:, :3]) and pruned.embedding_dim == 3
    parameter = nn.Parameter(torch.rand(1, 5, 4))
    assert torch.equal(tp.prune_parameter_out_channels(parameter, [0]), parameter[..., 1:])


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_recurrent_layers(kind):
    dense, data = lively(kind(4, 5, batch_first=True, bidirectional=True)), torch.rand(2, 3, 4)
    silent = copy.deepcopy(dense)
    with torch.no_grad():  # hidden unit 2 says nothing to the others
        for suffix in ("l0", "l0_reverse"):
            getattr(silent, f"weight_hh_{suffix}")[:, 2] = 0
    pruned = tp.prune_lstm_out_channels(copy.deepcopy(dense), [2])
    torch.testing.assert_close(pruned(data)[0], without(silent(data)[0], [2, 7], axis=2))
    pruned = tp.prune_lstm_in_channels(copy.deepcopy(dense), [1])
    torch.testing.assert_close(pruned(without(data, [1], axis=2))[0], dense(data * torch.tensor([1.0, 0, 1, 1]))[0])
    assert (pruned.hidden_size, pruned.input_size) == (5, 3)


@pytest.mark.parametrize("separate", [False, True])
def test_multihead_attention(separate):
    kinds = {"kdim": 6, "vdim": 5} if separate else {}
    layer = lively(nn.MultiheadAttention(8, 2, batch_first=True, add_bias_kv=True, **kinds))
    pruned = tp.prune_multihead_attention_out_channels(layer, [0, 5])
    sizes = (6, 6, 5) if separate else (6, 6, 6)
    query, key, value = (torch.rand(1, 3, size) for size in sizes)
    assert pruned(query, key, value)[0].shape == (1, 3, 6)
    assert (pruned.embed_dim, pruned.head_dim) == (6, 3)


@pytest.mark.parametrize(
    ("prune", "layer", "idxs", "message"),
    [
        (tp.prune_linear_out_channels, nn.Linear(2, 3), [3], r"has channels 0 to 2, got \[3\]"),
        (tp.prune_linear_in_channels, nn.Linear(2, 3), [-1], r"has channels 0 to 1, got \[-1\]"),
        (tp.prune_linear_out_channels, nn.Linear(2, 3), [0, 1, 2], "all 3 channels would go; keep at least one"),
        (
            tp.prune_conv_out_channels,
            nn.Conv2d(4, 4, 1, groups=2),
            [0],
            r"would lose \[1, 0\] channels; remove equally",
        ),
        (tp.prune_conv_in_channels, nn.Conv2d(4, 4, 1, groups=2), [0, 3], "remove the same channels of each"),
        (tp.prune_groupnorm_out_channels, nn.GroupNorm(2, 4), [0], "remove equally many of each"),
        (tp.prune_multihead_attention_out_channels, nn.MultiheadAttention(4, 2), [0], "remove equally many of each"),
        (tp.prune_lstm_out_channels, nn.LSTM(2, 3, 2), [0], "takes one layer without projection"),
    ],
)
def test_what_cannot_be_is_refused(prune, layer, idxs, message):
    with pytest.raises(InputError, match=message):
        prune(layer, idxs)


def test_the_functions_as_objects():
    prune = tp.function.PrunerBox[nn.Linear]
    layer = nn.Linear(4, 5)
    assert prune(layer, [1], inplace=False).out_features == 4 and layer.out_features == 5
    assert prune(layer, [1], to_output=False, dry_run=True).in_features == 4
    assert prune(layer, [1], to_output=False) is layer and layer.in_features == 3
    with pytest.raises(InputError, match="LinearPruner got a Conv2d; use the function of its type"):
        prune(nn.Conv2d(2, 2, 1), [0])
    with pytest.raises(InputError, match="has 2 groups of channels; use prune_conv_out_channels"):
        tp.prune_depthwise_conv_out_channels.__self__(nn.Conv2d(4, 4, 1, groups=2), [0])
    grouped = nn.Conv2d(4, 4, 1, groups=2)
    assert tp.function.PrunerBox[nn.modules.conv._ConvNd].get_out_channel_groups(grouped) == 2
