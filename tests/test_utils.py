import pytest
import torch
from torch import nn

import deploy_prune as tp
from deploy_prune.errors import InputError


def test_parameters_are_counted_once():
    model = nn.ModuleDict({"a": nn.Linear(3, 4), "b": nn.Linear(3, 4)})
    assert tp.utils.count_params(model) == 2 * 16
    model["b"].weight = model["a"].weight
    assert tp.utils.count_params(model) == 16 + 4


def test_nested_outputs_become_a_list():
    a, b, c = torch.rand(1), torch.rand(2), torch.rand(3)
    assert tp.utils.flatten_as_list({"x": [a, (b,)], "y": {"z": c}}) == [a, b, c]
    assert tp.utils.flatten_as_list(a) == [a]


def test_what_changed_in_the_printed_model(capsys):
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU())
    tp.utils.print_tool.before_pruning(model)
    tp.prune_linear_out_channels(model[0], [0])
    text = tp.utils.print_tool.after_pruning(model, do_print=False)
    assert capsys.readouterr().out == ""
    before, after = (f"(0): Linear(in_features=3, out_features={width}, bias=True)" for width in (4, 3))
    assert text.splitlines() == ["Sequential(", f"  {before} => {after}", "  (1): ReLU()", ")"]
    with pytest.raises(InputError, match=r"nothing to compare with; call print_tool\.before_pruning\(model\) first"):
        tp.utils.print_tool.after_pruning(model)
