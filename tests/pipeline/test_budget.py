"""The closed loop on a real device: this machine's processor."""

import sqlite3

import pytest
import torch
from torch import nn

import deploy_prune
from deploy_prune.errors import InputError, UnreachableBudgetError
from deploy_prune.export.onnx import export_onnx
from deploy_prune.hardware.profile import HardwareProfile, MeasuringLimits
from deploy_prune.pipeline.device import Device, record_key
from deploy_prune.pipeline.device_step import WIDTHS
from deploy_prune.pipeline.latency_budget import Budget
from deploy_prune.pipeline.latency_search import design_variants
from deploy_prune.runtime.timing import Timing
from deploy_prune.search.prunable import Prunable
from deploy_prune.store import MeasurementStore

pytest.importorskip("onnxruntime")

INPUTS = torch.rand(1, 3, 48, 48, generator=torch.Generator().manual_seed(0))
QUICK = HardwareProfile(
    name="quick", engine="onnxruntime", measuring=MeasuringLimits(min_runs=10, min_s=0.05, max_s=1.5, ci_width=0.03)
)


def network():
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 64, 3, padding=1), nn.ReLU()]
    for _ in range(3):
        layers += [nn.Conv2d(64, 64, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)).eval()


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A store that knows the device's step, as if it had been measured there before."""
    path = tmp_path_factory.mktemp("store") / "measurements.sqlite"
    step = record_key("step", QUICK, f"two 3x3 convolutions, 64 to {WIDTHS} to 64 channels on 20x20")
    MeasurementStore(path).put(step, {"step": 16}, "test")
    return path


def test_a_speed_up_is_reached_and_proved(store):
    model = network()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    images = torch.rand(8, 3, 48, 48, generator=torch.Generator().manual_seed(1))
    result = deploy_prune.prune_to_latency(model, INPUTS, profile=QUICK, speedup=1.6, calibration=images, store=store)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert result.model(INPUTS).shape == (1, 10)
    assert sum(width < 64 for width in result.plan.widths.values()) >= 1
    assert all(width % 16 == 0 for width in result.plan.widths.values())
    assert result.pruned_count.macs < result.dense_count.macs and result.pruned_count.params < result.dense_count.params
    assert result.verification.eval_error < 1e-6
    assert result.recovered.model is result.model and result.recovered.recovered <= result.recovered.pruned
    assert isinstance(result.dense, Timing) and isinstance(result.pruned, Timing)
    chosen = [r for r in result.rounds if r.widths == {n: result.plan.widths[n] for n in r.widths}]
    assert chosen and chosen[0].share <= 1 and all(r.predicted_s > 0 for r in result.rounds)
    assert all(r.predicted_std_s > 0 for r in result.rounds)
    assert result.floor.total_s == pytest.approx(result.floor.narrowest_s + result.floor.fixed_s)
    assert result.floor.narrowest_s > 0 and 0 < result.floor.total_s < result.floor.dense_s


def test_what_was_measured_is_not_measured_again(store):
    def measured():
        return sqlite3.connect(store).execute("SELECT kind, subject, content FROM measurements").fetchall()

    before = measured()
    assert len(before) > 5
    deploy_prune.prune_to_latency(network(), INPUTS, profile=QUICK, speedup=1.6, calibration=INPUTS, store=store)
    assert [row for row in measured() if row in before] == before


def test_an_unreachable_budget_says_what_is_reachable(store):
    message = (
        r"the budget of 0\.001 ms is unreachable: the fastest plan is predicted to take \d+\.\d+ ms "
        r"\(nodes at their narrowest widths .*overhead -?\d+\.\d+\), .* times as fast"
    )
    with pytest.raises(UnreachableBudgetError, match=message) as caught:
        deploy_prune.prune_to_latency(network(), INPUTS, profile=QUICK, latency_ms=0.001, store=store)
    assert caught.value.fastest_s > 1e-6


class Block(nn.Module):
    """``x + second(relu(first(x)))``."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(32, 64, 3, padding=1), nn.Conv2d(64, 32, 3, padding=1)

    def forward(self, x):
        return x + self.second(self.first(x).relu())


def test_variants_without_branches_are_profiled(store, tmp_path):
    """Two blocks, two more variants; nodes of a block are measured where it is there and nowhere else."""
    model = nn.Sequential(nn.Conv2d(3, 32, 3), Block(), Block(), nn.AdaptiveAvgPool2d(1), nn.Conv2d(32, 4, 1)).eval()
    prunable = Prunable.of(model, INPUTS, remove_branches=True)
    dense = export_onnx(model, INPUTS, tmp_path / "blocks.onnx")
    device = Device(QUICK, lambda m, path: export_onnx(m, INPUTS, path), dense, 1e-3, MeasurementStore(store), tmp_path)
    variants = design_variants(prunable, device, variants=3)
    assert [[w["1.first"] > 0, w["2.first"] > 0] for w in variants] == [[True] * 2] * 3 + [[False, True], [True, False]]
    blocks = [{n.name[:3] for n in device.profile_widths(prunable, v).nodes} & {"/1/", "/2/"} for v in variants[2:]]
    assert blocks == [{"/1/", "/2/"}, {"/2/"}, {"/1/"}]


def test_a_profiled_variant_leaves_the_rows_of_its_layers(tmp_path):
    store = MeasurementStore(tmp_path / "own.sqlite")
    for widths in ((64, 64, 32), (64, 64, 64, 16)):
        convolutions = [nn.Conv2d(a, b, 3, padding=1) for a, b in zip((3, *widths), widths, strict=False)]
        model = nn.Sequential(*convolutions, nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
        dense = export_onnx(model, INPUTS, tmp_path / "dense.onnx")
        device = Device(QUICK, lambda m, path: export_onnx(m, INPUTS, path), dense, 1e-3, store, tmp_path)
        prunable = Prunable.of(model, INPUTS)
        device.profile_widths(prunable, prunable.full_widths)
    rows = [row for measured in store.measurements() for row in measured.layers]
    convolved = sorted((row.c_in, row.c_out) for row in rows if '"Conv"' in row.layer)
    assert convolved == [(3, 64), (3, 64), (64, 16), (64, 32), (64, 64), (64, 64), (64, 64)]
    assert all(row.time_s > 0 and row.samples_ns for row in rows)


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        ({"latency_ms": 3, "speedup": 2}, "got latency_ms=3 and speedup=2; give exactly one of them"),
        ({"latency_ms": None, "speedup": None}, "give exactly one of them"),
        ({"latency_ms": -1, "speedup": None}, "latency_ms is -1; give a latency above 0 ms"),
        ({"latency_ms": None, "speedup": 0.5}, r"speedup is 0\.5; give a factor above 1, such as 2"),
    ],
)
def test_budgets_that_are_none(budget, message):
    with pytest.raises(InputError, match=message):
        Budget.of(**budget)


def test_a_profile_without_layer_times_is_refused_before_the_model_is_looked_at():
    with pytest.raises(InputError, match="does not time single layers"):
        deploy_prune.prune_to_latency(nn.Identity(), torch.rand(1, 3, 8, 8), profile="cpu-torch-eager", speedup=2)
