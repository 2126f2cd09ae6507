import pytest
import torch
from torch import nn

from deploy_prune.errors import InputError
from deploy_prune.importance import (
    FisherImportance,
    GroupHessianImportance,
    HessianImportance,
    OBDCImportance,
)
from deploy_prune.pruner import DependencyGraph


def accumulate(importance, model):
    """Two samples, x = (1, 2) and x = (1, 0), loss = output, by the documented protocol.

    Hidden units are (4, 19) and (8, 11), all on. Gradients of sample 1: first weight [[5, 10], [-6, -12]], first bias
    [5, -6], second weight [4, 19]; of sample 2: [[5, 0], [-6, 0]], [5, -6], [8, 11].
    """
    losses = model(torch.tensor([[1.0, 2.0], [1.0, 0.0]])).flatten()
    for loss in losses:
        model.zero_grad()
        loss.backward(retain_graph=True)
        importance.accumulate_grad(model)


FIRST = [1 * 25 + 4 * 50, 9 * 36 + 16 * 72]  # w**2 times the mean of g**2: rows (25, 50) and (36, 72)
SECOND = [25 * (16 + 64) / 2, 36 * (361 + 121) / 2]
BIAS = [49 * 25, 64 * 36]


@pytest.mark.parametrize(
    ("kind", "arguments", "expected"),
    [
        (GroupHessianImportance, {"group_reduction": None}, [FIRST, SECOND]),
        (GroupHessianImportance, {"group_reduction": None, "bias": True}, [FIRST, BIAS, SECOND]),
        (GroupHessianImportance, {}, [(FIRST[0] + SECOND[0]) / 2, (FIRST[1] + SECOND[1]) / 2]),
        (OBDCImportance, {"num_classes": 10}, FIRST),
        (OBDCImportance, {"group_reduction": None, "bias": True}, [FIRST, BIAS]),
        # gates: first (5 - 20, -18 - 48) and (5, -18), second (20, -114) and (40, -66)
        (
            FisherImportance,
            {"group_reduction": None},
            [[(225 + 25) / 2, (4356 + 324) / 2], [(400 + 1600) / 2, (114**2 + 66**2) / 2]],
        ),
    ],
)
def test_by_hand(two_layers, group_of, kind, arguments, expected):
    importance = kind(normalizer=None, **arguments)
    importance.zero_grad()
    accumulate(importance, two_layers)
    scores = importance(group_of(two_layers, torch.rand(1, 2)))
    assert torch.allclose(scores, torch.tensor(expected, dtype=torch.float32))
    assert torch.equal(importance(group_of(two_layers, torch.rand(1, 2))), scores), "scoring twice gives the same"


def test_more_of_the_same_samples_change_nothing(two_layers, group_of):
    group = group_of(two_layers, torch.rand(1, 2))
    importance = HessianImportance()
    accumulate(importance, two_layers)
    once = importance(group)
    accumulate(importance, two_layers)
    assert torch.allclose(importance(group), once)


def test_zero_grad_forgets(two_layers, group_of):
    importance = HessianImportance()
    accumulate(importance, two_layers)
    importance.zero_grad()
    with pytest.raises(InputError, match=r"no gradient of 0\.weight .*accumulate_grad\(model\) after each sample's"):
        importance(group_of(two_layers, torch.rand(1, 2)))


def test_accumulating_before_backward_is_refused(two_layers):
    with pytest.raises(InputError, match=r"no parameter of the model has a gradient; call loss\.backward\(\) before"):
        FisherImportance().accumulate_grad(two_layers)


def test_pruning_asks_for_new_gradients():
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    importance = HessianImportance()
    accumulate(importance, model)
    graph = DependencyGraph().build_dependency(model, torch.rand(1, 2))
    next(graph.get_all_groups()).prune([0])
    with pytest.raises(InputError, match="again after each pruning"):
        importance(next(graph.get_all_groups()))
    accumulate(importance, model)
    assert importance(next(graph.get_all_groups())).shape == (2,)
