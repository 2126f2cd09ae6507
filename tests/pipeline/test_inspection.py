"""What inspect finds, against answers worked out by hand; models by name."""

import json
import re
import sys

import pytest
import torch
from torch import nn

from deploy_prune.count import count
from deploy_prune.errors import InputError, MissingDependencyError
from deploy_prune.pipeline.inspection import inspect_model
from deploy_prune.pipeline.named_model import load_model
from deploy_prune.pruner import DependencyGraph, apply_plan
from deploy_prune.report.inspection import FrozenEntry, Member, OutputChannels

PIXELS = 8 * 8


class Residual(nn.Module):
    """Stem, depthwise, wide and back; what runs beside them adds to the stem's channels."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.depth = nn.Conv2d(4, 4, 3, padding=1, groups=4, bias=False)
        self.wide = nn.Conv2d(4, 6, 1)
        self.back = nn.Conv2d(6, 4, 1)
        self.head = nn.Linear(4, 10)
        self.spare = nn.Linear(2, 2)

    def forward(self, x):
        x = self.depth(self.norm(self.stem(x)).relu())
        return self.head((x + self.back(self.wide(x).relu())).mean((2, 3)))


class Joined(nn.Module):
    """Two branches, of which a third layer uses two and three fifths; a view whose size is an attribute."""

    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Linear(7, 2), nn.Linear(7, 3)
        self.both = nn.Linear(5, 6)
        self.width = 6
        self.last = nn.Linear(6, 4)

    def forward(self, x):
        return self.last(self.both(torch.cat([self.left(x), self.right(x)], 1)).view(-1, self.width))


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Linear(7, 8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x):
        x = self.embed(x)
        return self.attention(x, x, x, need_weights=False)[0].sort(1)[0].cumsum(2)


class Square(nn.Module):
    """The second layer adds to its own input."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.last = nn.Linear(7, 4), nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x):
        x = self.first(x)
        return self.last(x + self.second(x))


MODELS = {
    "square": lambda: (Square(), torch.rand(1, 7)),
    "residual": lambda: (Residual(), torch.rand(1, 3, 8, 8)),
    "joined": lambda: (Joined(), torch.rand(1, 7)),
    "attention": lambda: (Attention(), torch.rand(1, 5, 7)),
}


@pytest.fixture
def inspect(monkeypatch):
    module = type(sys)("small_models")
    module.__dict__.update(MODELS)
    monkeypatch.setitem(sys.modules, "small_models", module)
    return lambda name: inspect_model(f"small_models:{name}")


def test_the_model_as_a_whole(inspect):
    found = inspect("residual")
    layers = {
        "stem": ("Conv2d", PIXELS * 4 * 27, 108),
        "norm": ("BatchNorm2d", 0, 8),
        "depth": ("Conv2d", PIXELS * 4 * 9, 36),
        "wide": ("Conv2d", PIXELS * 24, 24 + 6),
        "back": ("Conv2d", PIXELS * 24, 24 + 4),
        "head": ("Linear", 40, 50),
        "spare": ("Linear", 0, 6),
    }
    assert {layer.name: (layer.kind, layer.macs, layer.params) for layer in found.layers} == layers
    assert found.macs == sum(macs for _, macs, _ in layers.values()) and found.macs_without_weights == 0
    assert found.params == sum(params for _, _, params in layers.values())
    assert found.unreached == ("spare.weight", "spare.bias") and found.unknown == {}
    # Of 4 + 4 + 6 + 4 + 10 channels the head's reach the output; the spare layer's were never seen.
    assert found.channels == OutputChannels(total=28, free=18, at_output=10)
    assert found.channels.prunable_share == 1


def test_groups_their_cost_and_their_layers(inspect):
    found = inspect("residual")
    stem, wide = found.groups
    assert (stem.name, stem.kind, stem.width, stem.rows) == ("stem", "channels", 4, 1)
    # Every layer's weight lies wholly in the stem's channels; in the head's bias and the wide layer's nothing does.
    assert (stem.macs, stem.params) == (found.macs, found.params - 6 - 10 - 6)
    assert (stem.macs_share, stem.params_share) == (1, stem.params / found.params)
    assert (wide.name, wide.width, wide.macs, wide.params) == ("wide", 6, 2 * PIXELS * 24, 24 + 6 + 24)
    assert wide.members == (
        Member("wide", ("weight[0]", "bias[0]"), makes=True, uses=False),
        Member("back", ("weight[1]",), makes=False, uses=True),
    )
    sides = {member.layer: (member.makes, member.uses) for member in stem.members}
    assert sides == {
        "stem": (True, False),
        "norm": (False, False),
        "depth": (True, True),
        "wide": (False, True),
        "back": (True, False),
        "head": (False, True),
    }


def test_a_part_of_a_layer_counts_in_part_and_attributes_follow(inspect):
    left, right, both = inspect("joined").groups
    assert (left.name, left.macs, left.params) == ("left", 14 + 30 * 2 // 5, 14 + 2 + 30 * 2 // 5)
    assert (right.name, right.macs, right.params) == ("right", 21 + 30 * 3 // 5, 21 + 3 + 30 * 3 // 5)
    assert (both.name, both.macs, both.params) == ("both", 30 + 24, 30 + 6 + 24)
    assert [group.attributes for group in (left, right, both)] == [(), (), ("width",)]


@pytest.mark.parametrize("name", ["residual", "joined"])
def test_removing_a_share_saves_that_share(inspect, name):
    """The law behind the columns: no weight of these networks has one group on both axes."""
    model, inputs = MODELS[name]()
    graph, dense = DependencyGraph().build_dependency(model, inputs), count(model, inputs)
    for group in inspect(name).groups:
        gone = range(group.width // 2)
        pruned = count(apply_plan(model, graph.make_plan({group.name: gone})), inputs)
        assert (dense.macs - pruned.macs) * group.width == group.macs * len(gone)
        assert (dense.params - pruned.params) * group.width == group.params * len(gone)


def test_a_weight_with_the_group_on_both_axes_counts_once_and_saves_more(inspect):
    (group,) = (group for group in inspect("square").groups if group.name == "first")
    assert (group.width, group.macs, group.params) == (4, 4 * 7 + 16 + 12, 4 * 7 + 4 + 16 + 4 + 12)
    model, inputs = MODELS["square"]()
    pruned = apply_plan(model, DependencyGraph().build_dependency(model, inputs).make_plan({"first": [0, 1]}))
    assert count(pruned, inputs).macs == 2 * 7 + 4 + 6 < group.macs // 2


def test_what_is_frozen_with_reason_and_place(inspect):
    found = inspect("residual")
    image, output = found.frozen
    assert (image.name, image.width, image.members) == (
        "stem", 3, (Member("stem", ("weight[1]",), makes=False, uses=True),)
    )  # fmt: skip
    assert (image.module, image.operator) == ("stem", "convolution")
    line = Residual.forward.__code__.co_firstlineno + 1
    assert image.source == f"test_inspection.py:{line}"
    assert image.place == f"stem: convolution ({image.source})"
    assert (output.name, output.width, output.place) == ("head", 10, "the model: output")
    assert output.reason == "reaches the model's output"


def test_products_of_activations_belong_to_no_weight(inspect):
    found = inspect("attention")
    assert found.macs == 5 * 7 * 8 + 5 * 8 * 4 * 8 + found.macs_without_weights
    assert found.macs_without_weights == 2 * 5 * 5 * 8
    assert [entry.place for entry in found.frozen][-1] == "the model: output"  # of two reasons the plainest


def test_the_json_has_a_stable_form(inspect):
    content = json.loads(inspect("residual").to_json())
    assert list(content) == [
        *("schema", "model", "macs", "params", "macs_without_weights", "channels", "layers", "groups", "frozen"),
        *("unknown", "unreached"),
    ]
    assert (content["schema"], content["model"]) == (1, "small_models:residual")
    assert content["channels"] == {"total": 28, "free": 18, "at_output": 10, "prunable_share": 1.0}
    assert list(content["layers"][0]) == ["name", "kind", "macs", "params"]
    assert list(content["groups"][0]) == [
        *("name", "kind", "width", "rows", "macs", "params", "macs_share", "params_share", "members", "attributes")
    ]
    assert list(content["groups"][0]["members"][0]) == ["layer", "axes", "makes", "uses"]
    frozen = ["name", "width", "reason", "module", "operator", "source", "members"]
    assert list(content["frozen"][0]) == frozen


def test_a_place_that_is_not_known():
    assert FrozenEntry("a", 1, "all its indices are tied to one another", "", "", "", ()).place == ""


def test_inspecting_leaves_the_model_as_it_was(monkeypatch):
    model = Residual()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    module = type(sys)("kept_model")
    module.build = lambda: (model, torch.rand(1, 3, 8, 8))
    monkeypatch.setitem(sys.modules, "kept_model", module)
    inspect_model("kept_model:build")
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert model.training and not any(m._forward_hooks for m in model.modules())


@pytest.mark.parametrize(
    ("source", "shape"),
    [
        ("torchvision/squeezenet1_1", (1, 3, 224, 224)),
        ("torchvision/r3d_18", (1, 3, 16, 224, 224)),
        ("timm/test_vit", (1, 3, 160, 160)),
        ("timm/test_resnet.r160_in1k", (1, 3, 160, 160)),
    ],
)
def test_models_of_libraries_by_name(source, shape):
    pytest.importorskip(source.partition(":")[0])
    named = load_model(source, image_size=None, task="detect")
    assert named.inputs.shape == shape and isinstance(named.module, nn.Module)
    assert load_model(source, image_size=64, task="detect").inputs.shape[-2:] == (64, 64)


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("ssdlite320_mobilenet_v3_large", [[(3, 32, 32)]]),
        ("raft_small", [(1, 3, 32, 32), (1, 3, 32, 32)]),
    ],
)
def test_models_with_other_inputs(name, sizes):
    pytest.importorskip("torchvision")
    inputs = load_model(f"torchvision/{name}", image_size=32, task="detect").inputs
    assert [[tuple(i.shape) for i in one] if isinstance(one, list) else tuple(one.shape) for one in inputs] == sizes


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("torchvision/resnt18", "torchvision has no model 'resnt18'; did you mean 'resnet18'?"),
        ("timm/zzzz", "timm has no model 'zzzz'; see its list_models()"),
        ("timm/", "cannot load 'timm/'; expected a .pt file, a YOLO .yaml, torchvision/NAME, timm/NAME, or module:fu"),
    ],
)
def test_names_of_no_model(source, message):
    with pytest.raises(InputError, match=f"^{re.escape(message)}"):
        load_model(source, image_size=None, task="detect")


def test_a_library_that_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(
        MissingDependencyError, match=r"^timm is not installed; run: pip install 'deploy_prune\[vision\]"
    ):
        load_model("timm/test_vit", image_size=None, task="detect")
