"""The graph as DepGraph users ask it: by layer, direction and index."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from zoo.topologies import build

import deploy_prune as tp
from deploy_prune.errors import InputError, PlanError
from deploy_prune.pruner import verify

IMAGES = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def graph_of(model, inputs=IMAGES, **options):
    return tp.DependencyGraph().build_dependency(model, inputs, **options)


def test_a_group_names_layers_directions_and_functions():
    model = build("Residual")
    a, b = model.body.a, model.body.b
    group = graph_of(model).get_pruning_group(a[0], tp.prune_conv_out_channels, idxs=[2, 6])
    found = [(dep.target.name, dep.handler, idxs) for dep, idxs in group]
    assert found == [
        ("body.a.0", tp.prune_conv_out_channels, [2, 6]),
        ("body.a.1", tp.prune_batchnorm_out_channels, [2, 6]),
        ("body.b.0", tp.prune_conv_in_channels, [2, 6]),
    ]
    dep, idxs = group[2]
    assert (dep.target.module, dep.layer, dep.pruning_fn) == (b[0], b[0], tp.prune_conv_in_channels)
    assert dep.source.module is a[0] and dep.trigger == tp.prune_conv_out_channels
    assert dep.is_triggered_by(tp.prune_conv_out_channels) and not dep.is_triggered_by(tp.prune_linear_in_channels)
    assert (group[2].dep, group.items[2].idxs, group[2].root_idxs) == (dep, idxs, [0, 1])
    assert len(group) == 3
    assert str(group).splitlines()[0] == "group body.a.0: 24 units"
    assert "idxs (2) = [2, 6] (root)" in group.details()


def test_the_layer_that_was_asked_for_is_the_root():
    model = build("Residual")
    graph = graph_of(model)
    for module, fn in ((model.body.b[0], tp.prune_conv_in_channels), (model.body.a[1], tp.prune_batchnorm_in_channels)):
        group = graph.get_pruning_group(module, fn, [3])
        assert group[0].dep.target.module is module and group[0].dep.handler == fn
        assert {dep.target.name for dep, _ in group} == {"body.a.0", "body.a.1", "body.b.0"}
    group = graph.get_pruning_group(model.body.b[0], tp.prune_conv_out_channels, [3])
    assert group[0].dep.target.module is model.body.b[0] and group.name == "stem.0"


def test_pruning_by_input_channels():
    model = build("Residual")
    dense = copy.deepcopy(model)
    graph = graph_of(model)
    plan = graph.get_pruning_group(model.body.b[0], tp.prune_conv_in_channels, idxs=(0, 5)).prune()
    assert model.body.a[0].out_channels == 22
    assert torch.equal(model.body.a[0].weight, dense.body.a[0].weight[[k for k in range(24) if k not in (0, 5)]])
    verify(dense, model, plan, IMAGES)


def test_a_loop_over_all_groups():
    model = build("Concat")
    dense, graph = copy.deepcopy(model), graph_of(model)
    names = []
    for group in graph.get_all_groups(ignored_layers=[model.stem], root_module_types=[nn.Conv2d, nn.Linear]):
        group.prune(idxs=[0, 2])
        names.append(group.name)
        group.prune(idxs=[0])  # indices count in the model as it is now
    assert names == ["body.a.0", "body.b.0", "body.c.0"]
    assert (model.stem[0].out_channels, model.body.c[0].in_channels) == (16, 30)
    assert torch.equal(model.body.a[0].weight, dense.body.a[0].weight[[3, 4, 5, 6, 7]])
    verify(dense, model, graph.plan, IMAGES)


def test_channels_of_two_groups_at_once():
    model = build("UnequalSplit")
    dense, graph = copy.deepcopy(model), graph_of(model)
    group = graph.get_pruning_group(model.body.cv1[0], tp.prune_conv_out_channels, [1, 7, 9])
    assert [idxs for dep, idxs in group if dep.target.name == "body.a.0" and not dep.out] == [[1]]
    assert [idxs for dep, idxs in group if dep.target.name == "body.b.0" and not dep.out] == [[1, 3]]
    assert group[0].idxs == [1, 7, 9] and group[0].root_idxs == [0, 1, 2]
    with pytest.raises(InputError, match=r"lie in 2 groups \(body\.cv1\.0, body\.cv1\.0:2\); score each by itself"):
        tp.importance.MagnitudeImportance()(group)
    group.prune()
    assert (model.body.left, model.body.right) == (5, 8)
    verify(dense, model, graph.plan, IMAGES)


def test_indices_of_rows():
    graph = graph_of(build("ChunkWithSplit"))
    ask = lambda *idxs: graph.get_pruning_group(graph.model.body.cv1[0], idxs=idxs).units.tolist()  # noqa: E731
    assert ask(1) == [[1], [1]]  # the half that nobody asked for loses the same
    assert ask(1, 9) == [[1], [1]]
    assert ask(1, 10) == [[1], [2]]  # each half its own
    assert ask(1, 10, 3) == [[1, 2, 3], [1, 2, 3]]


def test_whole_heads_and_inner_indices():
    graph = graph_of(build("SeparateProjections"))
    query = graph.model.body.q
    assert graph.get_pruning_group(query, tp.prune_linear_out_channels, range(4, 8)).name == "body.q:heads"
    assert graph.get_pruning_group(query, tp.prune_linear_out_channels, [4]).name == "body.q"
    graph.get_pruning_group(query, tp.prune_linear_out_channels, range(4, 8)).prune()
    assert query.out_features == 12


def test_over_pruning_is_seen():
    model = build("Residual")
    graph = graph_of(model)
    every = graph.get_pruning_group(model.stem[0], tp.prune_conv_out_channels, range(16))
    assert not graph.check_pruning_group(every)
    assert graph.check_pruning_group(graph.get_pruning_group(model.stem[0], tp.prune_conv_out_channels, range(15)))
    with pytest.raises(PlanError, match=r"all 16 units of group stem\.0 would go"):
        every.prune()
    assert model.stem[0].out_channels == 16


def test_a_dependency_prunes_its_target_alone():
    for name in ("Grouped", "Lstm"):
        graph = graph_of(build(name))
        for group in graph.get_all_groups():
            for dep, idxs in group.choose(np.array([0])):
                alone = copy.deepcopy(dep.layer)
                replace(dep, target=replace(dep.target, module=alone))(idxs)
                assert getattr(alone, dep.parameter).shape[dep.axis] == dep.tensor.shape[dep.axis] - len(idxs)


def test_directions_and_sizes():
    graph = graph_of(build("Residual"))
    conv, norm = graph.model.stem[0], graph.model.stem[1]
    assert (graph.get_out_channels(conv), graph.get_in_channels(conv), graph.get_out_channels(norm)) == (16, 3, 16)
    assert graph.get_out_channels(graph.model.stem[2]) is None
    assert graph.get_pruner_of_module(conv) is tp.PrunerBox[nn.modules.conv._ConvNd]
    assert graph.is_out_channel_pruning_fn(tp.prune_conv_out_channels)
    assert not graph.is_in_channel_pruning_fn(tp.prune_conv_out_channels)
    assert graph.is_in_channel_pruning_fn(tp.prune_batchnorm_out_channels)
    assert graph.is_out_channel_pruning_fn(tp.prune_depthwise_conv_in_channels)


def test_history_is_repeated_on_another_model():
    first = build("ChunkWithSplit")
    second = copy.deepcopy(first)
    graph = graph_of(first)
    pruner = tp.pruner.BasePruner(first, IMAGES, pruning_ratio=0.4, iterative_steps=2)
    pruner.step()
    pruner.step()
    history = pruner.pruning_history()
    assert {name for name, _, _ in history} == {"stem.0", "body.cv1.0", "body.cv2.0"}
    graph = graph_of(second)
    graph.load_pruning_history(history)
    assert graph.pruning_history() == history
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    third = build("ChunkWithSplit")
    graph_of(third).get_pruning_group(third.stem[0], idxs=[1]).prune(record_history=False)
    assert third.stem[0].out_channels == 15


class Scaled(nn.Module):
    """A layer of the user's own, with parameters, a size, and a bare parameter beside it in the network."""

    def __init__(self, width):
        super().__init__()
        self.width = width
        self.scale, self.shift = nn.Parameter(torch.rand(width)), nn.Parameter(torch.rand(width))

    def forward(self, x):
        return x * self.scale + self.shift


class WithScaled(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.scaled, self.b = nn.Linear(4, 8), Scaled(8), nn.Linear(8, 3)
        self.position = nn.Parameter(torch.rand(1, 5, 8))

    def forward(self, x):
        return self.b(self.scaled(self.a(x) + self.position))


class ScaledPruner(tp.function.BasePruningFunc):
    def __init__(self):
        super().__init__()
        self.calls = []

    def prune_out_channels(self, layer, idxs):
        self.calls.append(list(idxs))
        kept = [k for k in range(layer.width) if k not in idxs]
        layer.scale, layer.shift = nn.Parameter(layer.scale[kept]), nn.Parameter(layer.shift[kept])
        layer.width -= len(idxs)
        return layer

    prune_in_channels = prune_out_channels

    def get_out_channels(self, layer):
        return layer.width

    get_in_channels = get_out_channels


@pytest.mark.parametrize("key", ["type", "instance"])
def test_customised_layers(key):
    model, pruner = WithScaled(), ScaledPruner()
    graph = tp.DependencyGraph()
    graph.register_customized_layer(Scaled if key == "type" else model.scaled, pruner)
    graph.build_dependency(model, example_inputs=torch.rand(2, 5, 4))
    dense = copy.deepcopy(model)
    group = graph.get_pruning_group(model.scaled, pruner.prune_out_channels, idxs=[0, 6])
    assert [dep.target.name for dep, _ in group if dep.handler == pruner.prune_out_channels] == ["scaled"]
    plan = group.prune()
    assert pruner.calls == [[0, 6]] and model.scaled.width == 6
    verify(dense, model, plan, torch.rand(2, 5, 4))


def test_bare_parameters_need_no_argument():
    model = WithScaled()
    graph = graph_of(model, torch.rand(2, 5, 4))
    group = graph.get_pruning_group(model.position, tp.prune_parameter_out_channels, idxs=1)
    assert group[0].idxs == [1] and group[0].dep.parameter == "position"
    assert {(d.target.name, d.out) for d, _ in group} == {("", False), ("a", True), ("scaled", True), ("b", False)}
    group.prune()
    assert model.position.shape == (1, 5, 7) and model.scaled.scale.shape == (7,)
    model = WithScaled()
    given = graph_of(model, torch.rand(2, 5, 4), unwrapped_parameters={model.position: 2}, verbose=False)
    assert given.get_pruning_group(model.position, None, [0]).name == "a"
    ignored = graph_of(model, torch.rand(2, 5, 4), ignored_params=[model.position])
    assert list(ignored.get_all_groups()) == []


def test_what_cannot_be_asked():
    model = build("Residual")
    graph = graph_of(model)
    with pytest.raises(InputError, match=r"stem\.2 has no channels that a run reached"):
        graph.get_pruning_group(model.stem[2], tp.prune_conv_out_channels, [0])
    with pytest.raises(InputError, match="Conv2d is not in the model; give a layer of the model"):
        graph.get_pruning_group(nn.Conv2d(1, 1, 1), tp.prune_conv_out_channels, [0])
    with pytest.raises(InputError, match="is no pruning function; give one such as prune_conv_out_channels"):
        graph.get_pruning_group(model.stem[0], print, [0])
    with pytest.raises(
        InputError, match=r"no group of stem\.0 holds the output channels \[16\]; it has channels 0 to 15"
    ):
        graph.get_pruning_group(model.stem[0], tp.prune_conv_out_channels, [16])
    with pytest.raises(InputError, match=r"holds the input channels \[0\]: it "):
        graph.get_pruning_group(model.stem[0], tp.prune_conv_in_channels, [0])


def test_an_output_that_may_change():
    model = build("Residual")
    graph = graph_of(model, output_transform=lambda output: None)
    graph.get_pruning_group(model.head, tp.prune_linear_out_channels, [0]).prune()
    assert model(IMAGES).shape == (2, 4)
