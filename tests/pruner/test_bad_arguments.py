"""What users may give by mistake is refused in one line that says what it was and what to give."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

import deploy_prune as tp
from deploy_prune.errors import InputError

INPUTS = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


class Tiny(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.conv2, self.fc = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 8, 3), nn.Linear(8, 4)

    def forward(self, x):
        return self.fc(self.conv2(self.conv1(x).relu()).relu().mean((2, 3)))


def refused(arguments, message):
    with pytest.raises(InputError, match=message) as caught:
        tp.pruner.BasePruner(Tiny(), INPUTS, **arguments).step()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("arguments", "message"), [
    ({"ignored_layers": ["fc"]}, r"ignored_layers names the text 'fc'; give the layer itself, such as model.get_sub"),
    ({"ignored_layers": "fc"}, "ignored_layers is 'fc'; give a list"),
    ({"ignored_layers": nn.Linear(8, 4)}, r"ignored_layers is the layer Linear\(.*\); give a list"),
    ({"ignored_layers": [nn.Linear(8, 4)]}, r"the layer Linear\(in_features=8, .* that is not in the model; .* a copy"),
    ({"ignored_layers": [nn.Sequential(nn.ReLU())]}, "names a Sequential that is not in the model"),
    ({"ignored_layers": [nn.Parameter(torch.ones(3))]}, r"names a parameter of shape \(3,\) that is not in the model"),
    ({"ignored_layers": [3]}, "ignored_layers names 3, which is no layer; give layers of the model"),
    ({"ignored_layers": [int]}, "ignored_layers names the type int, which is no layer"),
    ({"pruning_ratio_dict": {"conv1": 0.5}}, "pruning_ratio_dict names the text 'conv1'; give the layer itself"),
    ({"pruning_ratio_dict": {nn.Conv2d(3, 16, 3): 0.5}}, r"pruning_ratio_dict names the layer Conv2d\(3, .* a copy of"),
    ({"pruning_ratio_dict": {nn.Conv2d: 0.5}}, "pruning_ratio_dict names the type Conv2d, which is no layer"),
    ({"pruning_ratio_dict": [0.5]}, "pruning_ratio_dict is a list; give a dict from layers to values"),
    ({"num_heads": [4]}, "num_heads is a list; give a dict"),
    ({"pruning_ratio": -0.1}, "pruning ratio is -0.1; give the share to remove, at least 0 and below 1"),
    ({"pruning_ratio": 30}, "pruning ratio is 30; give the share"),
    ({"pruning_ratio": None}, "pruning ratio is None; give the share"),
    ({"max_pruning_ratio": "all"}, "max_pruning_ratio is 'all'; give a share from 0 to 1"),
    ({"round_to": 0}, "round_to is 0; give a whole number, at least 1"),
    ({"round_to": -8}, "round_to is -8; give a whole number"),
    ({"round_to": 2.5}, "round_to is 2.5; give a whole number"),
    ({"iterative_steps": 0}, "iterative_steps is 0; give a whole number"),
    ({"iterative_steps": "5"}, "iterative_steps is '5'; give a whole number"),
    ({"iterative_pruning_ratio_scheduler": 3}, "scheduler is 3; give a function of a ratio and steps"),
    ({"root_module_types": nn.Conv2d}, "root_module_types is the type Conv2d; give a list"),
    ({"root_module_types": ["Conv2d"]}, r"root_module_types is \['Conv2d'\]; give types of layers"),
    ({"importance": tp.importance.RandomImportance}, "RandomImportance'>; give a criterion"),
    ({"customized_pruners": {nn.Linear: tp.function.LinearPruner}}, "give an instance of a BasePruningFunc"),
    ({"unwrapped_parameters": [1]}, r"unwrapped_parameters holds 1; give pairs \(parameter, axis\)"),
    ({"unwrapped_parameters": [(torch.ones(3), 1)]}, r"a parameter of shape \(3,\) has no axis 1"),
])  # fmt: skip
def test_arguments_of_a_pruner(arguments, message):
    refused(arguments, message)


INDICES = [
    ([1.5], "indices hold 1.5; give whole numbers, such as"),
    (torch.tensor([1.0]), "indices hold 1.0; give whole numbers"),
    (1.5, "indices hold 1.5; give whole numbers"),
    (["1"], "indices hold '1'; give whole numbers"),
    ([[1, 2]], r"indices hold \[1, 2\]; give whole numbers"),
    (torch.ones(16, dtype=torch.bool), "indices are a mask of true and false; give the positions"),
    ([-1], r"\[-1\]"),
    ([99], r"channels 0 to 15"),
]


@pytest.mark.parametrize(("idxs", "message"), INDICES)
def test_indices(idxs, message):
    model = Tiny()
    graph = tp.DependencyGraph().build_dependency(model, INPUTS)
    group = graph.get_pruning_group(model.conv1, tp.prune_conv_out_channels, [0])
    for attempt in (
        lambda: graph.get_pruning_group(model.conv1, tp.prune_conv_out_channels, idxs),
        lambda: group.prune(idxs),
        lambda: tp.prune_conv_out_channels(model.conv1, idxs),
    ):
        with pytest.raises(InputError, match=message):
            attempt()
    assert model.conv1.out_channels == 16


@pytest.mark.parametrize("idxs", [[1, 2], (1, 2), {1, 2}, range(1, 3), torch.tensor([1, 2]), np.array([1, 2]),
                                  [torch.tensor(1), np.int64(2)]])  # fmt: skip
def test_whole_numbers_of_any_kind_are_indices(idxs):
    model = Tiny()
    graph = tp.DependencyGraph().build_dependency(model, INPUTS)
    assert graph.get_pruning_group(model.conv1, tp.prune_conv_out_channels, idxs).units.tolist() == [[1, 2]]
    assert tp.prune_conv_out_channels(model.conv1, idxs).out_channels == 14


def test_weights_without_numbers_are_not_scored():
    with torch.device("meta"):
        model = Tiny()
    with pytest.raises(InputError, match=r"conv1.weight is on the meta device and holds no numbers to score; load"):
        tp.pruner.BasePruner(copy.deepcopy(model), INPUTS.to("meta")).step()
    tp.pruner.BasePruner(model, INPUTS.to("meta"), tp.importance.RandomImportance(), pruning_ratio=0.5).step()
    assert model.conv1.weight.shape == (8, 3, 3, 3)  # what needs no numbers works


def test_parameters_and_layers_of_the_graph():
    model = Tiny()
    with pytest.raises(InputError, match="ignored_layers names the text 'fc'"):
        tp.DependencyGraph().build_dependency(model, INPUTS, ignored_layers=["fc"])
    graph = tp.DependencyGraph().build_dependency(model, INPUTS, ignored_layers=[model.conv1.weight])
    assert [g.name for g in graph.get_all_groups()] == ["conv2"]
    assert not list(graph.get_all_groups(ignored_layers=[model.conv2.weight]))
    with pytest.raises(InputError, match="that is not in the model"):
        list(graph.get_all_groups(ignored_layers=[nn.ReLU()]))


@pytest.mark.parametrize("ratio", [-0.5, 1.0, 1.5])
def test_a_ratio_for_one_layer(ratio):
    model = Tiny()
    with pytest.raises(InputError, match=f"the ratio is {ratio}; give the share"):
        tp.pruner.BasePruner(model, INPUTS).manual_prune_width(model.conv1, tp.prune_conv_out_channels, ratio)


def test_what_reaches_the_output_says_how_to_let_it_change():
    model = Tiny()
    graph = tp.DependencyGraph().build_dependency(model, INPUTS)
    with pytest.raises(InputError, match="reaches the model's output; if it may change, give an output_transform"):
        graph.get_pruning_group(model.fc, tp.prune_linear_out_channels, [0])
    free = tp.DependencyGraph().build_dependency(model, INPUTS, output_transform=lambda out: None)
    free.get_pruning_group(model.fc, tp.prune_linear_out_channels, [0]).prune()
    assert model.fc.out_features == 3
