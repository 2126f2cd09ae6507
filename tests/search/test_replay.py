"""What runs before the first changed module is not computed again, and what comes after sees the same."""

import copy

import pytest
import torch
from torch import nn

from deploy_prune.search.replay import Replay


class Counted(nn.Linear):
    calls = 0

    def forward(self, x):
        self.calls += 1
        return super().forward(x)


class Net(nn.Module):
    """Two blocks; the sum is written in place, into what the first block returned."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Sequential(Counted(4, 4), nn.ReLU())
        self.second = nn.Sequential(Counted(4, 4), nn.ReLU(inplace=True), Counted(4, 4))
        self.scale = nn.Parameter(torch.ones(4))

    def forward(self, x):
        y = self.first(x)
        z = self.second(y)
        y += z
        return y * self.scale


@pytest.fixture
def net():
    return Net().eval()


X = torch.rand(3, 4, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("changed, again", [("first.0", [1, 1, 1]), ("second.0", [0, 1, 1]), ("second.2", [0, 0, 1])])
def test_only_what_follows_runs_and_the_output_is_that_of_the_changed_network(net, changed, again):
    with torch.no_grad():
        replay = Replay(net, lambda: net(X))
        start = replay.start([net.get_submodule(changed)])
        with replay.recording([start]):
            net(X)
        variant = copy.deepcopy(net)
        variant.get_submodule(changed).weight.mul_(-1)
        expected = variant(X)
        layers = [variant.first[0], variant.second[0], variant.second[2]]
        before = [layer.calls for layer in layers]
        replay.shorten(variant, start)
        found = [variant(X), variant(X)]
    assert all(torch.equal(y, expected) for y in found)
    assert [layer.calls - b for layer, b in zip(layers, before, strict=True)] == [2 * n for n in again]
    assert not any("forward" in m.__dict__ or m._forward_hooks or m._forward_pre_hooks for m in net.modules())


def test_a_parameter_of_the_model_itself_leaves_nothing_to_replay(net):
    replay = Replay(net, lambda: net(X))
    with replay.recording([replay.start([net])]):
        net(X)
    variant = copy.deepcopy(net)
    replay.shorten(variant, replay.start([net]))
    before = variant.first[0].calls
    variant(X)
    assert variant.first[0].calls == before + 1


def test_a_module_called_twice_runs_again_and_counts_from_its_first_call():
    """x -> shared -> other -> shared: changing the other keeps nothing but what came before it, and not the shared."""

    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.shared, self.other = Counted(4, 4), Counted(4, 4)

        def forward(self, x):
            return self.shared(self.other(self.shared(x)))

    net = Twice()
    with torch.no_grad():
        replay = Replay(net, lambda: net(X))
        assert replay.start([net.shared, net.other]) == replay.start([net.shared]) < replay.start([net.other])
        start = replay.start([net.other])
        with replay.recording([start]):
            net(X)
        variant = copy.deepcopy(net)
        variant.other.weight.mul_(2)
        expected = variant(X)
        replay.shorten(variant, start)
        assert torch.equal(variant(X), expected)


def test_a_module_whose_weight_is_read_without_a_call_counts_as_its_parent():
    attention = nn.MultiheadAttention(4, 2, batch_first=True)
    net = nn.Sequential(nn.Linear(4, 4))
    net.append(Self(attention))
    replay = Replay(net, lambda: net(torch.rand(1, 3, 4)))
    assert replay.start([attention.out_proj]) == replay.start([attention])


class Self(nn.Module):
    def __init__(self, attention):
        super().__init__()
        self.attention = attention

    def forward(self, x):
        return self.attention(x, x, x, need_weights=False)[0]
