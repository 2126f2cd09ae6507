"""The document that the project grew from, with only the import line changed; ratios, rounding and steps."""

import pytest
import torch
import torchvision
from torch import nn
from zoo.topologies import build

import deploy_prune as tp
from deploy_prune.errors import InputError

IMAGES = torch.rand(2, 3, 16, 16)


@pytest.fixture
def resnet():
    return torchvision.models.resnet18(num_classes=10)


def test_halving_a_network(resnet):
    example_inputs = torch.randn(1, 3, 64, 64)
    base_ops, base_params = tp.utils.count_ops_and_params(resnet, example_inputs)
    imp = tp.importance.MagnitudeImportance(p=2)
    pruner = tp.pruner.MagnitudePruner(resnet, example_inputs, importance=imp, iterative_steps=1, pruning_ratio=0.5)
    pruner.step()
    ops, params = tp.utils.count_ops_and_params(resnet, example_inputs)
    assert resnet.conv1.out_channels == 32 and resnet.layer4[1].conv2.out_channels == 256
    assert resnet(example_inputs).shape == (1, 10)
    assert 3.5 < base_ops / ops < 4.1 and 3.8 < base_params / params < 4.1


def test_ratios_by_layer_leave_the_rest_whole(resnet):
    ratios = {resnet.conv1: 0.25, resnet.layer1: 0.5, resnet.layer2: 0.6}
    tp.pruner.MagnitudePruner(resnet, torch.randn(1, 3, 64, 64), pruning_ratio=ratios).step()
    assert resnet.conv1.out_channels == 48  # shared by layer1's shortcuts: the layer that makes the channels decides
    assert resnet.layer1[0].conv1.out_channels == 32
    assert resnet.layer2[0].conv1.out_channels == int(128 * 0.4)
    assert resnet.layer3[0].conv1.out_channels == 256


class CustomImportance(tp.importance.Importance):
    def __call__(self, group):
        importance = 0
        for dep, idxs in group:
            layer = dep.target.module
            if isinstance(layer, nn.Conv2d):
                assert len(idxs) >= 1
                importance += torch.abs(layer.weight.grad).sum()
        return importance


def test_custom_importance_in_five_steps(resnet):
    example_inputs = torch.randn(1, 3, 64, 64)
    resnet(example_inputs).sum().backward()
    pruner = tp.pruner.MagnitudePruner(
        resnet, example_inputs, importance=CustomImportance(), iterative_steps=5, pruning_ratio=0.5
    )
    widths = []
    for _ in range(5):
        pruner.step()
        widths.append(resnet.conv1.out_channels)
    assert widths == [57, 51, 44, 38, 32]
    pruner.step()
    assert resnet.conv1.out_channels == 32


def test_round_to_and_ignored_layers():
    model = build("Residual")
    tp.pruner.MagnitudePruner(model, IMAGES, pruning_ratio=0.4, round_to=8, ignored_layers=[model.stem[0]]).step()
    assert model.stem[0].out_channels == 16
    assert model.body.a[0].out_channels == 16  # of 24, 14.4 would stay


def test_the_least_important_units_go():
    model = build("Residual")
    with torch.no_grad():
        model.body.a[0].weight[[2, 7]] *= 1e-3
        model.body.a[1].weight[[2, 7]] *= 1e-3
        model.body.b[0].weight[:, [2, 7]] *= 1e-3
    expected = model.body.a[0].weight[[k for k in range(24) if k not in (2, 7)]][:, :]
    tp.pruner.MagnitudePruner(model, IMAGES, pruning_ratio={model.body.a: 2 / 24}).step()
    assert torch.equal(model.body.a[0].weight, expected)


def test_global_pruning_takes_its_share_from_all_groups_together():
    model = build("Concat")
    pruner = tp.pruner.MagnitudePruner(model, IMAGES, pruning_ratio=0.5, global_pruning=True, max_pruning_ratio=0.75)
    dense = sum(pruner.dense_width.values())
    pruner.step()
    left = {g.name: g.width for g in pruner.groups()}
    assert sum(left.values()) == dense // 2
    assert all(width >= pruner.dense_width[name] * 0.25 for name, width in left.items())


def test_interactive_steps_prune_when_told():
    model = build("Residual")
    pruner = tp.pruner.MagnitudePruner(model, IMAGES, pruning_ratio=0.5)
    groups = pruner.step(interactive=True)
    assert {g.name for g in groups} == {"stem.0", "body.a.0"} and model.stem[0].out_channels == 16
    for group in groups:
        group.prune()
    assert (model.stem[0].out_channels, model.body.a[0].out_channels) == (8, 12)


def test_a_group_by_layer_and_indices():
    model = build("ChunkWithSplit")
    graph = tp.DependencyGraph().build_dependency(model, example_inputs=IMAGES)
    group = graph.get_pruning_group(model.body.cv1[0], idxs=[1])
    assert [idxs for dep, idxs in group if dep.target.module is model.body.cv1[0]] == [[1, 9]]
    assert (
        group.details()
        .splitlines()[1]
        .endswith(
            " => prune_out_channels on body.cv1.0 (Conv2d(16, 16, "
            "kernel_size=(1, 1), stride=(1, 1))), idxs (2) = [1, 9] (root)"
        )
    )
    assert graph.check_pruning_group(group)
    group.prune()
    assert model.body.cv1[0].out_channels == 14
    with pytest.raises(
        InputError, match=r"no group of head holds the output channels \[0\]: it reaches the model's output"
    ):
        graph.get_pruning_group(model.head, idxs=[0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"pruning_ratio": 1.0}, "pruning ratio is 1.0; give the share to remove, at least 0 and below 1"),
        ({"iterative_steps": 0}, "iterative_steps is 0; give a whole number, at least 1"),
        (
            {"pruning_ratio": {nn.Conv2d(1, 1, 1): 0.5}},
            "names the layer Conv2d.* that is not in the model; give layers of the model",
        ),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(InputError, match=message):
        tp.pruner.MagnitudePruner(build("Residual"), IMAGES, **arguments)


def test_scores_of_another_length_are_refused():
    pruner = tp.pruner.MagnitudePruner(build("Residual"), IMAGES, importance=lambda group: torch.rand(3))
    with pytest.raises(
        InputError, match=r"returned shape \(3,\) for group stem.0 of 16 units; return one score per unit"
    ):
        pruner.step()


def test_plans_survive_a_file(tmp_path):
    model = build("ChunkWithSplit")
    graph = tp.DependencyGraph().build_dependency(model, IMAGES)
    plan = graph.make_plan({"body.cv1.0": [0, 3]})
    assert tp.Plan.load(plan.save(tmp_path / "plan.json")) == plan
    assert [p.name for p in tmp_path.iterdir()] == ["plan.json"]
    (tmp_path / "plan.json").write_text("{}")
    with pytest.raises(InputError, match="is no plan of schema 2"):
        tp.Plan.load(tmp_path / "plan.json")


def test_plans_refuse_what_is_not_there():
    graph = tp.DependencyGraph().build_dependency(build("Residual"), IMAGES)
    with pytest.raises(tp.errors.PlanError, match=r"unknown group 'body\.z'"):
        graph.make_plan({"body.z": [0]})
    with pytest.raises(tp.errors.PlanError, match="has units 0 to 15, got 3 to 99"):
        graph.make_plan({"stem.0": [3, 99]})
    with pytest.raises(tp.errors.PlanError, match=r"all 16 units of group stem\.0 would go"):
        graph.make_plan({"stem.0": list(range(16))})
