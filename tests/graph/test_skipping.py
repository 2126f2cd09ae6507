"""Arithmetic is left out while nobody asks for numbers, and what is said about indices stays the same."""

import pytest
import torch
import torchvision
from torch import nn
from zoo.topologies import BODIES, build

from deploy_prune.errors import ForwardError
from deploy_prune.graph.skipping import MadeUp
from deploy_prune.graph.trace import trace
from deploy_prune.graph.units import find_units

LOOKED: list = []


class Watched(nn.Module):
    """Looks at what its first layer returns."""

    def __init__(self, look):
        super().__init__()
        self.first, self.last, self.look = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 1), look

    def forward(self, x):
        x = self.first(x).relu()
        LOOKED.append(self.look(x))
        return self.last(x)


@pytest.fixture(autouse=True)
def _nothing_seen():
    LOOKED.clear()


@pytest.mark.parametrize(
    "look",
    [
        lambda x: x.sum().item(),
        lambda x: float(x.flatten()[0]),
        lambda x: bool((x > 0.1).any()),
        lambda x: len(x[x > 0.1]),
        lambda x: len(x.nonzero()),
        lambda x: x.numpy().sum().item(),
        lambda x: sum(x.flatten().tolist()),
        lambda x: len(torchvision.ops.nms(x.flatten(1)[:, :4], x.flatten(1)[:, 0], 0.5)),
    ],
    ids="item float bool mask nonzero numpy tolist nms".split(),
)
def test_a_model_that_looks_at_a_number_sees_the_true_one(look):
    torch.manual_seed(0)
    model, data = Watched(look).eval(), torch.rand(2, 3, 8, 8)
    with torch.no_grad():
        expected = look(model.first(data).relu())
    trace(model, data)
    assert len(LOOKED) == 1, "the run that made numbers up must not get this far"
    assert LOOKED[0] == pytest.approx(expected, rel=1e-5)


def test_a_model_that_swallows_the_refusal_is_run_again():
    def look(x):
        try:
            return x.sum().item()
        except Exception:
            return "swallowed"

    trace(Watched(look), torch.rand(2, 3, 8, 8))
    assert LOOKED[0] == "swallowed"
    assert LOOKED[1] > 0


def test_nothing_is_computed_where_nobody_looks():
    trace(Watched(lambda x: x), torch.rand(2, 3, 8, 8) + 1)
    assert len(LOOKED) == 1
    assert not LOOKED[0].any()


def groups_of(model, inputs):
    units = find_units(trace(model, inputs))
    return [(g.name, g.kind, g.width, g.rows) for g in units.groups], [(f.name, f.reason) for f in units.frozen]


@pytest.mark.parametrize("name", BODIES)
def test_groups_are_those_of_a_computed_run(name, monkeypatch):
    model, inputs = build(name), torch.rand(2, 3, 16, 16)
    made_up = groups_of(model, inputs)
    monkeypatch.setattr(MadeUp, "__call__", lambda self, function, args, kwargs, tracked: function(*args, **kwargs))
    assert made_up == groups_of(model, inputs)


CONVOLUTIONS = {
    "plain": (nn.Conv2d(4, 6, 3), (9, 8)),
    "strided": (nn.Conv2d(4, 6, (3, 2), stride=(2, 3), padding=(1, 0)), (9, 8)),
    "dilated": (nn.Conv2d(4, 6, 3, dilation=2, padding=1), (9, 8)),
    "grouped": (nn.Conv2d(4, 6, 3, groups=2), (9, 8)),
    "same": (nn.Conv2d(4, 6, 4, padding="same"), (9, 8)),
    "1-d": (nn.Conv1d(4, 6, 5, stride=2), (11,)),
    "3-d": (nn.Conv3d(4, 6, 2, padding=1), (5, 4, 3)),
    "transposed": (nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1), (9, 8)),
    "transposed grouped": (nn.ConvTranspose2d(4, 6, (2, 3), stride=(3, 2), groups=2, dilation=2), (9, 8)),
}
PRODUCTS = {
    "linear": (nn.Linear(8, 5), (9, 8)),
    "norm of tokens": (nn.Sequential(nn.Linear(8, 5), nn.LayerNorm(5), nn.GELU()), (8,)),
    "norm": (nn.Sequential(nn.BatchNorm2d(4), nn.ReLU(inplace=True)), (9, 8)),
    "attention": (nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), (8,)),
}


@pytest.mark.parametrize("name", [*CONVOLUTIONS, *PRODUCTS])
def test_a_made_up_result_has_the_true_shape(name):
    layer, size = (CONVOLUTIONS | PRODUCTS)[name]
    layer, data = layer.eval(), torch.rand(2, 4, *size)
    expected = layer(data).shape
    shapes = []
    trace(layer, data, output_transform=lambda out: shapes.append(out.shape) or out)
    assert set(shapes) == {expected}


MISFITS = {
    "channels": (nn.Conv2d(4, 8, 3), (1, 3, 8, 8)),
    "grouped": (nn.Conv2d(4, 8, 3, groups=2), (1, 2, 8, 8)),
    "transposed": (nn.ConvTranspose2d(4, 8, 3), (1, 8, 8, 8)),
    "kernel larger than the image": (nn.Conv2d(4, 8, 5), (1, 4, 4, 4)),
    "features": (nn.Linear(4, 8), (2, 5)),
    "norm": (nn.BatchNorm2d(4), (1, 3, 8, 8)),
    "norm of tokens": (nn.LayerNorm(4), (2, 5)),
}


@pytest.mark.parametrize("name", MISFITS)
def test_inputs_that_do_not_fit_are_refused_although_nothing_is_computed(name):
    layer, size = MISFITS[name]
    with pytest.raises(ForwardError, match="fails on the example inputs"):
        trace(layer, torch.rand(size))


def test_types_that_do_not_fit_are_refused():
    with pytest.raises(ForwardError, match="fails on the example inputs"):
        trace(nn.Linear(4, 8), torch.rand(2, 4).double())


class Written(nn.Module):
    """Writes results into tensors that are there already, and changes shapes in place."""

    def __init__(self, how):
        super().__init__()
        self.first, self.last, self.how = nn.Linear(6, 8), nn.Linear(8, 3), how

    def forward(self, x):
        LOOKED.append(x)
        return self.last(self.how(self.first(x)))


@pytest.mark.parametrize(
    "how",
    [
        lambda x: torch.add(x, x, out=torch.zeros(2, 8)),
        lambda x: x.t_().t(),
        lambda x: torch.zeros(2, 8).add_(x),
        lambda x: x.add_(1).relu_(),
    ],
    ids="out shapes real made-up".split(),
)
def test_writing_operators_say_the_same(how, monkeypatch):
    model, data = Written(how), torch.rand(2, 6)
    made_up = groups_of(model, data)
    assert len(LOOKED) == 1, "the run without arithmetic failed and had to be repeated"
    monkeypatch.setattr(MadeUp, "__call__", lambda self, function, args, kwargs, tracked: function(*args, **kwargs))
    assert made_up == groups_of(model, data)
