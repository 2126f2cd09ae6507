"""Which widths a search may choose from: of rows and the channels inside them, one axis."""

import torch
from torch import nn
from zoo.topologies import build

from deploy_prune.pruner import verify
from deploy_prune.search.prunable import Prunable

IMAGE = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def between(channels: int, groups: int) -> nn.Module:
    """A grouped convolution, without outputs of its own: the last layer's reach the output."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, channels, 1), nn.Conv2d(channels, channels, 3, groups=groups, padding=1), nn.Conv2d(channels, 5, 1)
    ).eval()


def test_many_small_groups_go_whole_at_a_step_of_the_device():
    prunable = Prunable.of(between(48, 6), IMAGE)  # groups of 8 channels: two are a step of 16
    assert prunable.menu_widths(16) == {"0:groups": (2, 4, 6)}
    assert prunable.menu_widths(8) == {"0:groups": (1, 2, 3, 4, 5, 6)}


def test_few_large_groups_lose_channels():
    prunable = Prunable.of(between(64, 2), IMAGE)  # two groups offer fewer widths than 32 channels in steps of 8
    assert prunable.menu_widths(16) == {"0": (16, 32), "1": (8, 16, 24, 32)}  # a unit of '1' is two channels


def test_a_network_without_some_groups_of_a_convolution_is_exact():
    model = between(48, 6)
    prunable = Prunable.of(model, IMAGE)
    plan, pruned = prunable.plan({"0:groups": 4}), prunable.build({"0:groups": 4})
    assert (pruned[1].groups, pruned[1].in_channels, pruned[1].out_channels) == (4, 32, 32)
    assert verify(model, pruned, plan, IMAGE)


def test_heads_that_offer_more_widths_than_their_channels_go_whole():
    groups = Prunable.of(build("FreeQueries"), torch.rand(2, 3, 16, 16)).full_widths  # 4 heads of 6 channels
    assert groups == {"stem.0": 16, "body.up": 24, "body.q:heads": 4}
