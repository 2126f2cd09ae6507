"""Train mode is run where something asks for the mode, and only there."""

import pytest
import torch
from torch import nn

from deploy_prune.graph.mode import readers_of_mode
from deploy_prune.graph.trace import trace
from deploy_prune.graph.units import find_units

DATA = torch.rand(2, 6)


class Counted(nn.Module):
    """Two layers that note that they ran."""

    def __init__(self):
        super().__init__()
        self.first, self.drop, self.last = nn.Linear(6, 8), nn.Dropout(0.5), nn.Linear(8, 3)

    def forward(self, x):
        COUNTED.append(self)
        return self.last(self.drop(self.first(x)))


COUNTED: list[nn.Module] = []


class ReadsItself(Counted):
    """Has an output that exists in train mode alone."""

    def __init__(self):
        super().__init__()
        self.extra = nn.Linear(8, 2)

    def forward(self, x):
        out = super().forward(x)
        return (out, self.extra(self.first(x))) if self.training else out


def is_training(module):
    return getattr(module, "training")  # noqa: B009


class ReadsAChild(Counted):
    def forward(self, x):
        return super().forward(x) * (2 if is_training(self.drop) else 1)


class ActsOnTrain(Counted):
    def train(self, mode=True):
        self.doubled = mode
        return super().train(mode)

    def forward(self, x):
        return super().forward(x) * (2 if self.doubled else 1)


@pytest.mark.parametrize(("kind", "runs"), [(Counted, 1), (ReadsItself, 2), (ReadsAChild, 2), (ActsOnTrain, 2)])
def test_a_run_in_train_mode_is_for_models_that_ask(kind, runs):
    COUNTED.clear()
    trace(kind(), DATA)
    assert len(COUNTED) == runs


def test_what_only_train_mode_has_is_frozen_by_the_output():
    units = find_units(trace(ReadsItself(), DATA))
    assert [(g.name, g.width) for g in units.groups] == [("first", 8)]
    assert {f.name for f in units.frozen} >= {"last", "extra"}


def test_the_flag_of_all_modules_is_their_own_again():
    module = nn.Linear(2, 2)
    with pytest.raises(KeyError), readers_of_mode(module) as readers:
        assert module.training is True
        module.eval()
        assert module.training is False
        raise KeyError
    assert readers == {__name__}
    assert "training" not in vars(nn.Module)
    assert module.__dict__["training"] is False


def test_a_module_without_the_flag_says_so_as_before():
    class Bare(nn.Module):
        def __init__(self):
            super().__init__()
            del self.training

    module = Bare()
    with readers_of_mode(module), pytest.raises(AttributeError, match="training"):
        _ = module.training
