"""Whole residual branches: found, removed together with channels, proved by the oracle, saved, exported shorter."""

import copy

import pytest
import torch
from torch import nn
from zoo.topologies import enliven

from deploy_prune.errors import InputError, PlanError
from deploy_prune.pruner import DependencyGraph, Plan, apply_plan, verify
from deploy_prune.pruner.branches import Branch, outermost
from deploy_prune.pruner.saved import load_pruned, load_state_dict, save_pruned, state_dict

IMAGES = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


class Block(nn.Module):
    """``x + second(relu(first(x)))``, with what a framework may leave on a module."""

    def __init__(self, width=4, inner=6):
        super().__init__()
        self.first = nn.Conv2d(width, inner, 3, padding=1)
        self.second = nn.Conv2d(inner, width, 1)
        self.f, self.type = [-1, 2], "Block"

    def forward(self, x):
        return x + self.second(self.first(x).relu())


class Toy(nn.Module):
    """Two blocks in a row, a block in an activation, one whose weights another layer shares, one that runs twice."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3)
        self.pair = nn.Sequential(Block(), Block())
        self.activated = nn.Sequential(Block(), nn.Tanh())
        self.tied, self.twice = Block(), Block()
        self.plain = nn.Sequential(nn.Conv2d(4, 4, 1), nn.ReLU())
        self.again = nn.Conv2d(4, 6, 3)
        self.again.weight = self.tied.first.weight
        self.head = nn.Linear(10, 5)

    def forward(self, x):
        x = self.tied(self.activated(self.pair(self.stem(x))))
        x = self.plain(self.twice(self.twice(x)))
        return self.head(torch.cat([x.mean((2, 3)), self.again(x).mean((2, 3))], 1))


def toy():
    torch.manual_seed(0)
    return Toy().eval()


def graph_of(model, inputs=IMAGES):
    return DependencyGraph().build_dependency(model, inputs)


def names(model, inputs=IMAGES):
    return [branch.name for branch in graph_of(model, inputs).find_branches()]


def some_channels(graph, share=0.4):
    return {g.name: range(int(g.width * share)) for g in graph.units.groups if g.kind == "channels"}


def remove(model, branches, inputs=IMAGES, share=0.0):
    """The pruned model, its plan and the oracle's errors."""
    graph = graph_of(model, inputs)
    plan = graph.make_plan(some_channels(graph, share) if share else {}, branches)
    pruned = apply_plan(model, plan)
    return pruned, plan, verify(model, pruned, plan, inputs)


def test_branches_by_hand():
    """4*6*9+6 and 6*4+4 parameters a block; the tied, the doubled and the bent ones may not go."""
    model = toy()
    before = copy.deepcopy(model.state_dict())
    own = 222 + 28
    assert graph_of(model).find_branches() == (
        Branch("pair", 2 * own, ("pair.0.first", "pair.1.first")),
        Branch("pair.0", own, ("pair.0.first",)),
        Branch("pair.1", own, ("pair.1.first",)),
        Branch("activated.0", own, ("activated.0.first",)),
    )
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_the_block_becomes_its_shortcut():
    model = toy()
    pruned, plan, errors = remove(model, ["pair.1"])
    assert plan.branches == ("pair.1",) and plan.cuts == () and plan.attributes == ()
    assert plan.widths["pair.1.first"] == 0 and plan.widths["pair.0.first"] == 6
    assert errors.eval_error == errors.train_error == 0
    shortcut = pruned.pair[1]
    assert type(shortcut) is nn.Identity and isinstance(model.pair[1], Block)
    assert (shortcut.f, shortcut.type, shortcut.shortcut_of) == ([-1, 2], "Block", "Block")
    silent = copy.deepcopy(model)
    for parameter in silent.pair[1].parameters():
        parameter.data.zero_()
    assert torch.equal(pruned(IMAGES), silent(IMAGES))


def test_an_activation_that_only_the_examples_pass_is_no_shortcut():
    class Rectified(nn.Sequential):
        def forward(self, x):
            return super().forward(x).relu()

    model = nn.Sequential(Rectified(Block(3)), nn.Conv2d(3, 2, 1))
    assert names(model) == ["0.0"]  # the images are positive, others need not be
    after = nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU(), Rectified(Block(3)), nn.Conv2d(3, 2, 1))
    assert names(after) == ["2", "2.0"]


def test_examples_that_say_nothing():
    assert names(nn.Sequential(Block(3), nn.Conv2d(3, 3, 1), nn.Sequential(nn.Conv2d(3, 3, 1))), IMAGES * 0) == ["0"]


@pytest.mark.parametrize(
    ("branches", "message"),
    [
        (["plain"], "'plain' is no branch of the model that may go; its branches are pair, pair.0, pair.1, activated"),
        (["tied"], "'tied' is no branch"),
        (["nowhere"], "'nowhere' is no branch"),
    ],
)
def test_other_modules_are_refused(branches, message):
    with pytest.raises(PlanError, match=message):
        graph_of(toy()).make_plan({}, branches)
    with pytest.raises(PlanError, match="may go; it has none"):
        graph_of(nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 1))).make_plan({}, branches)


def test_inner_branches_go_with_the_outer():
    assert outermost(["a.b", "a.b.c", "ab", "d"]) == ("a.b", "ab", "d")
    assert remove(toy(), ["pair.0", "pair"])[1] == remove(toy(), ["pair"])[1]


def test_channels_inside_a_branch_are_nothing_to_cut():
    graph = graph_of(toy())
    every = {"pair.0.first": range(6), "pair.1.first": [1, 2]}
    assert graph.make_plan(every, ["pair"]) == graph.make_plan({}, ["pair"])


def resnet18():
    from torchvision.models import resnet18

    return resnet18(num_classes=10)


def mobilenet_v2():
    from torchvision.models import mobilenet_v2

    return mobilenet_v2(num_classes=10)


def convnext():
    from torchvision.models.convnext import CNBlockConfig, ConvNeXt

    return ConvNeXt([CNBlockConfig(16, 32, 1), CNBlockConfig(32, None, 2)], num_classes=10)


def vit():
    return pytest.importorskip("timm").create_model("vit_tiny_patch16_224", img_size=32, depth=3, num_classes=10)


def yolov8n():
    return pytest.importorskip("ultralytics").YOLO("yolov8n.yaml").model


EXPECTED = {
    resnet18: ["layer1", "layer1.0", "layer1.1", "layer2.1", "layer3.1", "layer4.1"],
    mobilenet_v2: [f"features.{k}" for k in (3, 5, 6, 8, 9, 10, 12, 13, 15, 16)],
    convnext: ["features.1", "features.1.0", "features.3", "features.3.0", "features.3.1"],
    vit: ["blocks", "blocks.0", "blocks.1", "blocks.2"],
    yolov8n: [f"model.{k}" for k in ("2.m.0", "4.m.0", "4.m.1", "6.m.0", "6.m.1", "8.m.0")],
}


@pytest.mark.parametrize("build", EXPECTED, ids=lambda build: build.__name__)
def test_named_networks(build):
    torch.manual_seed(0)
    model = enliven(build())
    inputs = IMAGES if build is not yolov8n else torch.rand(1, 3, 64, 64)
    assert names(model, inputs) == EXPECTED[build]
    innermost = [name for name in EXPECTED[build] if not any(n.startswith(f"{name}.") for n in EXPECTED[build])]
    pruned, plan, errors = remove(model, innermost[::2], inputs, share=0.4)
    assert set(plan.branches) == set(innermost[::2])
    assert errors.eval_error < 1e-6 and errors.train_error < 1e-6
    for name in innermost:
        assert isinstance(pruned.get_submodule(name), nn.Identity) == (name in plan.branches)
    if build is yolov8n:
        assert pruned.model[4].m[1].shortcut_of == "Bottleneck" and type(pruned.model[4].m[0]).__name__ == "Bottleneck"


def test_the_exported_graph_is_shorter(tmp_path):
    onnx = pytest.importorskip("onnx")
    model = enliven(resnet18())
    pruned = remove(model, ["layer1", "layer3.1"])[0]
    kinds = []
    for k, network in enumerate((model, pruned)):
        torch.onnx.export(network, (IMAGES,), tmp_path / f"{k}.onnx", dynamo=False)
        kinds.append([node.op_type for node in onnx.load(tmp_path / f"{k}.onnx").graph.node])
    assert kinds[0].count("Conv") - kinds[1].count("Conv") == 6
    assert kinds[0].count("Add") - kinds[1].count("Add") == 3


def test_saved_and_loaded(tmp_path):
    model = toy()
    pruned, plan, _ = remove(model, ["pair.0"], share=0.3)
    assert Plan.load(plan.save(tmp_path / "plan.json")) == plan
    assert plan.checksum != remove(model, ["pair.1"], share=0.3)[1].checksum
    loaded = load_pruned(toy(), save_pruned(pruned, plan, tmp_path / "model"))
    stated = load_state_dict(toy(), state_dict(pruned))
    for restored in (loaded, stated):
        assert type(restored.pair[0]) is nn.Identity and restored.pair[0].type == "Block"
        assert torch.equal(restored(IMAGES), pruned(IMAGES))
    with pytest.raises(PlanError, match="other modules than the model"):
        load_state_dict(nn.Sequential(Block()), state_dict(pruned))


def test_an_older_plan_is_refused(tmp_path):
    (tmp_path / "plan.json").write_text('{"schema": 1, "widths": {}, "cuts": [], "attributes": [], "architecture": ""}')
    with pytest.raises(InputError, match="is no plan of schema 2"):
        Plan.load(tmp_path / "plan.json")


def test_step_by_step_in_place():
    """Channels, a branch, channels again: the same as one plan from the dense model; the history repeats it."""
    model, stepped = toy(), toy()
    graph = graph_of(stepped)
    graph.prune({"pair.0.first": [0, 1], "stem": [2]})
    step = graph.prune({"activated.0.first": [3]}, branches=["pair.0"])
    assert step.branches == ("pair.0",)
    assert "pair.0.first" not in [group.name for group in graph.get_all_groups()]
    graph.prune({"stem": [0], "pair.1.first": [4]})
    assert graph.plan.branches == ("pair.0",)
    once = apply_plan(model, graph.plan)
    assert torch.equal(once(IMAGES), stepped(IMAGES))
    verify(model, stepped, graph.plan, IMAGES)
    repeated = toy()
    graph_of(repeated).load_pruning_history(graph.pruning_history())
    assert torch.equal(repeated(IMAGES), stepped(IMAGES))
