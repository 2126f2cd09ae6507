import pytest
from torch import nn

from deploy_prune.errors import PlanError
from deploy_prune.tasks.architecture import architecture, check_same_architecture


def test_architecture_lists_parameters_and_buffers():
    found = architecture(nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)))
    assert found == {
        "0.weight": (2, 3),
        "0.bias": (2,),
        "1.weight": (2,),
        "1.bias": (2,),
        "1.running_mean": (2,),
        "1.running_var": (2,),
        "1.num_batches_tracked": (),
    }


def test_same_passes():
    check_same_architecture(architecture(nn.Linear(3, 2)), architecture(nn.Linear(3, 2)))


def test_regrown_channels_are_named_with_the_way_out():
    with pytest.raises(
        PlanError, match=r"bias was \(2,\) and is \(4,\).*deploy_prune.tasks.ultralytics.pruned_trainer"
    ):
        check_same_architecture(architecture(nn.Linear(3, 2)), architecture(nn.Linear(3, 4)))


def test_missing_tensor_is_named():
    with pytest.raises(PlanError, match=r"bias was \(2,\) and is absent"):
        check_same_architecture(architecture(nn.Linear(3, 2)), architecture(nn.Linear(3, 2, bias=False)))
