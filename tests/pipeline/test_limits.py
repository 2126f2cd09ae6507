"""Limits beside the latency: their tables against real files, several devices at once, and what is refused."""

import itertools
from types import SimpleNamespace

import pytest
import torch
from torch import nn

import deploy_prune
from deploy_prune.count import count
from deploy_prune.errors import InputError, UnreachableBudgetError
from deploy_prune.export.onnx import export_onnx, read_flow
from deploy_prune.hardware.profile import HardwareProfile, MeasuringLimits
from deploy_prune.latency.sample import NodeSample, VariantSample
from deploy_prune.latency.sampling import sample_widths
from deploy_prune.pipeline.closed_loop import Loop
from deploy_prune.pipeline.device import Device
from deploy_prune.pipeline.device_aim import OtherDevice
from deploy_prune.pipeline.latency_budget import Budget
from deploy_prune.pipeline.limits import MIB, LatencyLimit, Limits, file_work, memory_works, size_limits, sizes_kept
from deploy_prune.search.loss import importance_menu
from deploy_prune.search.memory import NodeTensors, live_tensors
from deploy_prune.search.prunable import Prunable
from deploy_prune.search.work import weight_bytes
from deploy_prune.store import MeasurementStore

pytest.importorskip("onnx")
INPUTS = torch.rand(1, 3, 24, 24, generator=torch.Generator().manual_seed(0))
QUICK = HardwareProfile(
    name="quick", engine="onnxruntime", measuring=MeasuringLimits(min_runs=10, min_s=0.05, max_s=1.5, ci_width=0.03)
)


class Network(nn.Module):
    """A residual block, a concatenation and batch norms, so that files hold fewer tensors than the module."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU())
        self.one, self.two = nn.Conv2d(32, 48, 3, padding=1), nn.Conv2d(48, 32, 3, padding=1)
        self.left, self.right = nn.Conv2d(32, 16, 1), nn.Conv2d(32, 16, 3, padding=1)
        self.head = nn.Linear(32, 4)

    def forward(self, x):
        x = self.stem(x)
        x = x + self.two(self.one(x).relu())
        x = torch.cat([self.left(x), self.right(x)], 1).sigmoid()
        return self.head(x.mean((2, 3)))


def export(model, path):
    return export_onnx(model, INPUTS, path)


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """The network, its menu, and a device with a dense file; nothing is measured on it."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("limits")
    prunable = Prunable.of(Network().eval(), INPUTS)
    dense = export(prunable.model, folder / "dense.onnx")
    device = Device(QUICK, export, dense, 1e-3, MeasurementStore(folder / "store.sqlite"), folder)
    return prunable, importance_menu(prunable, prunable.menu_widths(8), count(prunable.model, INPUTS)), device


def some_widths(prunable, seed):
    chance = torch.Generator().manual_seed(seed)
    return {g: int(torch.randint(1, full + 1, (), generator=chance)) for g, full in prunable.full_widths.items()}


@pytest.mark.parametrize("seed", range(4))
def test_the_file_is_never_larger_than_said_and_nearly_as_large(opened, tmp_path, seed):
    prunable, _, device = opened
    widths = some_widths(prunable, seed)
    size = export(prunable.build(widths), tmp_path / "pruned.onnx").stat().st_size
    said = file_work(prunable, device.dense).at(widths)
    axes = sum(prunable.full_widths.values())
    assert size <= said <= size + 5 * 4 * axes  # biases and norms that went: at most five numbers per channel


@pytest.mark.parametrize("seed", range(4))
def test_peak_memory_is_that_of_the_pruned_models_own_file(opened, tmp_path, seed):
    prunable, _, device = opened
    widths = some_widths(prunable, seed)
    flow = read_flow(export(prunable.build(widths), tmp_path / "pruned.onnx"))
    nodes = [NodeTensors(n.operator, n.inputs, n.outputs) for n in flow.nodes]
    steps = live_tensors(nodes, flow.inputs, flow.outputs, flow.sizes_bytes)
    peak = max(sum(flow.sizes_bytes[name] for name in step) for step in steps)
    said = max(work.at(widths) for work in memory_works(prunable, device))
    assert said == peak + weight_bytes(prunable).at(widths)


def test_all_sizes_are_kept_at_once_and_told(opened):
    prunable, menu, device = opened
    counted = count(prunable.model, INPUTS)
    limits = Limits(max_mac_share=0.6, max_params=0.7 * counted.params, max_file_mib=0.09, max_memory_mib=0.3)
    found = size_limits(limits, prunable, menu, device, counted)
    assert {one.name for one in found} == {"MACs", "parameters", "file size", "peak memory"}
    kept = {one.name: one for one in sizes_kept(found, prunable.full_widths)}
    assert kept["MACs"].amount == pytest.approx(counted.macs / 1e6)
    assert kept["parameters"].amount == pytest.approx(counted.params / 1e6)
    assert kept["file size"].amount == pytest.approx(device.dense.stat().st_size / MIB)
    assert kept["MACs"].allowed == pytest.approx(0.6 * counted.macs / 1e6)


class Simulated(Device):
    """A device on which a plan takes what a formula says: exact to test the loop by, marked by its profile's name."""

    def profile_widths(self, prunable, widths):
        seconds = self.seconds(widths)
        nodes = tuple(NodeSample(g, "Conv", 10 * w, 10 * w, self.rates[g] * w) for g, w in widths.items())
        return VariantSample(dict(widths), nodes, seconds)

    def compare_widths(self, prunable, widths):
        speedup = self.dense_s / (self.wrong * self.seconds(widths))
        return SimpleNamespace(speedup=speedup, low=0.97 * speedup)

    def seconds(self, widths):
        return sum(self.rates[g] * w for g, w in widths.items())


def simulated(opened, name, rates, wrong=1.0):
    """A device whose measured plans take ``wrong`` times what its profiles sum up to."""
    prunable, _, device = opened
    made = Simulated(QUICK.model_copy(update={"name": name}), export, device.dense, 1.0, device.store, device.folder)
    object.__setattr__(made, "rates", rates)
    object.__setattr__(made, "wrong", wrong)
    object.__setattr__(made, "dense_s", made.seconds(prunable.full_widths))
    return made


def search(opened, budgets, devices, limits=()):
    prunable, menu, _ = opened
    variants = sample_widths(prunable.menu_widths(8), 24)
    samples = [[d.profile_widths(prunable, v) for v in variants] for d in devices]
    others = tuple(OtherDevice(d, s, b) for d, s, b in zip(devices[1:], samples[1:], budgets[1:], strict=True))
    return Loop(prunable, devices[0], menu, samples[0], others, limits).search(budgets[0])


def opposed(prunable):
    """Two devices, one slow where the other is fast."""
    names = list(prunable.full_widths)
    return [{g: 1e-5 * (1 + 5 * ((k + side) % 2)) for k, g in enumerate(names)} for side in (0, 1)]


@pytest.mark.parametrize("wrong", [1.0, 1.1])
def test_a_plan_keeps_every_devices_budget_as_measured(opened, wrong):
    """The second device is ``wrong`` about its plans by a factor that the loop has to find out by itself."""
    one, two = opposed(opened[0])
    devices = [simulated(opened, "one", one), simulated(opened, "two", two, wrong)]
    found = search(opened, [Budget(speedup=1.5), Budget(speedup=1.4)], devices)
    rounds, best = found.rounds, found.best
    for device, speedup in zip(devices, (1.5, 1.4), strict=True):
        assert device.wrong * device.seconds(best.widths) <= device.dense_s / speedup
    assert best.share <= 1 and [t.profile for t in best.also] == ["two"]
    assert best.also[0].measured_s == pytest.approx(devices[1].wrong * devices[1].seconds(best.widths))
    alone = search(opened, [Budget(speedup=1.5)], devices[:1]).rounds
    assert best.loss >= alone[0].loss - 1e-9
    assert all(r.loss_bound is not None and r.loss_bound <= r.loss for r in rounds)
    assert 0 <= rounds[0].gap <= 1e-3 and all(0 <= r.gap <= 0.05 for r in rounds)  # later ones prefer known widths
    if wrong > 1:
        assert len(rounds) > 1 and rounds[0].also[0].share > rounds[-1].also[0].share


def test_the_loop_finds_the_best_widths_within_latency_and_parameters(opened):
    """Against all widths of the menu: none within the budget aimed at, and the parameters, loses less."""
    prunable, menu, device = opened
    main = simulated(opened, "one", opposed(prunable)[0])
    limits = size_limits(Limits(max_params=0.6 * count(prunable.model, INPUTS).params), prunable, menu, device)
    best = search(opened, [Budget(speedup=1.3)], [main], limits).best
    every = (dict(zip(menu.widths, w, strict=True)) for w in itertools.product(*menu.widths.values()))
    fitting = [
        w for w in every
        if main.seconds(w) <= 0.97 * main.dense_s / 1.3 and limits[0].tables.cost_s(w) <= limits[0].budget
    ]  # fmt: skip
    assert best.loss == pytest.approx(min(map(menu.loss_at, fitting)), rel=2e-3)


def test_what_is_in_the_way_is_named_with_what_is_reachable(opened):
    prunable, menu, device = opened
    one, two = opposed(prunable)
    devices = [simulated(opened, "one", one), simulated(opened, "two", two)]
    with pytest.raises(UnreachableBudgetError, match=r"latency under two budget of .* ms is unreachable: the least on"):
        search(opened, [Budget(speedup=1.5), Budget(speedup=50)], devices)
    limits = size_limits(Limits(max_params=10), prunable, menu, device)
    with pytest.raises(UnreachableBudgetError, match=r"parameters budget of .* million is unreachable: .* are frozen"):
        search(opened, [Budget(speedup=1.5)], devices[:1], limits)


def test_two_real_engines_and_all_sizes_at_once(tmp_path):
    """ONNX Runtime and OpenVINO on this machine's processor."""
    pytest.importorskip("onnxruntime")
    pytest.importorskip("openvino")
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 64, 3, padding=1), nn.ReLU()]
    for _ in range(2):
        layers += [nn.Conv2d(64, 64, 3, padding=1), nn.ReLU()]
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)).eval()
    data = torch.rand(1, 3, 48, 48)
    openvino = QUICK.model_copy(update={"name": "other", "engine": "openvino"})
    limits = Limits(max_params=50_000, max_memory_mib=2.0, max_file_mib=0.3, min_width=0.3,
                    also=(LatencyLimit(openvino, speedup=1.15),))  # fmt: skip
    result = deploy_prune.prune_to_latency(
        model, data, profile=QUICK, speedup=1.2, limits=limits, store=tmp_path / "store.sqlite"
    )
    assert result.pruned_count.params <= 50_000
    assert result.best.share <= 1 and result.best.also[0].profile == "other"
    assert list(result.also) == ["other"]
    assert all(size.amount <= size.allowed * (1 + 1e-6) for size in result.sizes) and len(result.sizes) == 3
    assert all(w >= 0.3 * 64 for w in result.plan.widths.values())


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"max_params": 0}, "max_params is 0; give a number above 0, or leave it out"),
        ({"max_macs": 1e6, "max_mac_share": 0.5}, "max_mac_share is 0.5; give a share up to 1, and not max_macs too"),
        ({"min_width": 2}, "min_width is 2; give the share of a group's units that stays, 0 to 1"),
    ],
)
def test_limits_that_are_none(limits, message):
    with pytest.raises(InputError, match=message):
        Limits(**limits)


def test_a_further_profile_needs_one_budget():
    with pytest.raises(InputError, match="give exactly one of them"):
        LatencyLimit("cpu-openvino")
