"""Micro models in which nothing but the image's channels and the classes must stay."""

import pytest
import torch
from zoo.topologies import build

from deploy_prune.pruner import DependencyGraph

IMAGES = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
FREE = {
    "CrossCovariance": {"stem.0": 4, "body.up": 24},
    "CrossCovarianceInOneOperator": {"stem.0": 4, "body.up": 24},
    "ChannelGroups": {"stem.0": 16, "body.up": 24, "body.qkv": 4},
    "FreeQueries": {"stem.0": 16, "body.up": 24, "body.q": 6, "body.q:heads": 4},
    "FactorisedAttention": {"stem.0": 4, "stem.0:heads": 4, "body.up": 24},
    "FactorisedWithFreeValues": {"stem.0": 16, "body.up": 24, "body.q": 4, "body.v": 6, "body.q:heads": 4},
    "HeadsInnermost": {"stem.0": 4, "stem.0:heads": 4, "body.up": 24},
    "PooledBesideToken": {"stem.0": 16, "body.up": 24, "body.qkv": 4, "body.qkv:heads": 4},
    "SampledAttention": {"stem.0": 16, "body.up": 24, "body.value": 4, "body.value:heads": 4},
    "BareNorms": {"stem.0": 16, "body.up": 24, "body.wide": 24},
    "ClippedLayers": {"stem.0": 16, "body.up": 24, "body.wide": 24},
    "ScalesOfHeads": {"stem.0": 16, "body.qkv": 4, "body.qkv:groups": 2},
    "GroupsBetween": {"stem.0": 16, "body.a.0": 4, "body.b.0": 6, "body.a.0:groups": 5},
    "GroupsByAttribute": {"stem.0": 16, "body.a.0": 4, "body": 6, "body.a.0:groups": 5},
    "GroupsByLiteral": {"stem.0": 16, "body.a.0": 4, "body": 6},
    "ProductsBetweenNorms": {"stem.0": 16},
    "PartsByAttributes": {"stem.0": 16, "body.a.0": 8, "body.b.0": 20, "body.out.0": 16},
}


@pytest.mark.parametrize("name", FREE)
def test_only_what_must_stay_stays(name):
    units = DependencyGraph().build_dependency(build(name), IMAGES).units
    assert {g.name: g.width for g in units.groups} == FREE[name]
    assert {(g.name, g.width) for g in units.frozen} == {("stem.0", 3), ("head", 5)}


def test_what_shuffles_in_a_row_leave_goes_in_fours():
    units = DependencyGraph().build_dependency(build("ShuffleChain"), IMAGES).units
    (slices,) = (s for s in units.group("body.wide.0.0").slices if s.parameter == "body.wide.1.0.weight")
    assert slices.indices.tolist() == [[0, 3, 5, 8], [1, 4, 6, 9]]  # 2 and 7 are the middle of a half, and stay
