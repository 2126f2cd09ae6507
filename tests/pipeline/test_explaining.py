"""Explanations from profiles: by hand, and of real networks on this machine."""

import pytest
import torch
from torch import nn

from deploy_prune.count import count
from deploy_prune.export.onnx import export_onnx
from deploy_prune.export.work import NodeWork
from deploy_prune.hardware.profile import HardwareProfile, MeasuringLimits
from deploy_prune.latency.roofline import Bandwidth, Roofs
from deploy_prune.pipeline import device_roofs
from deploy_prune.pipeline.device import record_key
from deploy_prune.pipeline.device_roofs import best_rate, find_roofs
from deploy_prune.pipeline.explaining import Profiled, explain, find_costs
from deploy_prune.pipeline.layers import LayerNames
from deploy_prune.runtime.measure import profile_nodes
from deploy_prune.runtime.nodes import NodeProfile, NodeTime
from deploy_prune.runtime.timing import Timing
from deploy_prune.store import MeasurementStore

pytest.importorskip("onnxruntime")

QUICK = HardwareProfile(
    name="quick", engine="onnxruntime", measuring=MeasuringLimits(min_runs=10, min_s=0.05, max_s=1.5, ci_width=0.03)
)


def profile_of(nodes, median_s):
    return NodeProfile(Timing((median_s,) * 3, (0.0,) * 3, "runs", None), tuple(nodes), median_s, None)


def test_costs_of_nodes_by_hand():
    """The engine pads 24 channels to 32 and runs the file at 2 ms, which the comparison saw as 1 ms."""
    conv = NodeTime("/a/Conv", "Conv", ((1, 16, 4, 4), (32, 16, 3, 3), (32,)), ((1, 32, 4, 4),), 256, 512, 1e-3)
    fused = NodeTime("/b/Add", "Convolution", ((1, 24, 4, 4),), ((1, 20, 4, 4),), 384, 320, 4e-4, ("/b/Conv",))
    product = NodeTime("/p/MatMul", "MatMul", ((2, 5, 6), (6, 7)), ((2, 5, 7),), 60, 70, 2e-4)
    relu = NodeTime("/r/Relu", "Relu", ((1, 8),), ((1, 8),), 8, 8, 1e-4)
    work = {"/a/Conv": NodeWork(55296, 24, 384, 3456), "/b/Conv": NodeWork(7680, 20, 320, 480)}
    model = Profiled(None, profile_of([conv, fused, product, relu], 2e-3), 1e-3)
    costs = find_costs(model, work, 16, 4)
    assert [cost.time_s for cost in costs] == pytest.approx([5e-4, 2e-4, 1e-4, 5e-5])
    assert [cost.macs for cost in costs] == [55296, 7680, 2 * 5 * 7 * 6, 0]
    assert [cost.moved_bytes for cost in costs] == [
        4 * (256 + 32 * 144 + 32 + 512), 4 * (384 + 320), 4 * (60 + 42 + 70), 4 * 16
    ]  # fmt: skip
    assert [cost.weight_bytes for cost in costs] == [4 * 3456, 4 * 480, 0, 0]
    assert {cost.all_weight_bytes for cost in costs} == {4 * 3936}
    # 24 padded to 32 by the engine, 20 to 32 by the step, 7 to 16
    assert [(cost.channels, cost.padded_channels) for cost in costs] == [(24, 32), (20, 32), (7, 16), (0, 0)]


def network(width):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, width, 3, padding=1), nn.Sigmoid(), nn.Conv2d(width, 40, 3, padding=1), nn.Sigmoid(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(40, 10),
    ).eval()  # fmt: skip


def test_a_real_pair_is_explained_in_parts_that_are_the_whole(tmp_path):
    data = torch.rand(1, 3, 32, 32)
    dense, pruned = (
        Profiled(path, profile_nodes(path, QUICK), total_s)
        for path, total_s in (
            (export_onnx(network(64), data, tmp_path / "dense.onnx"), 2e-3),
            (export_onnx(network(24), data, tmp_path / "pruned.onnx"), 1.5e-3),
        )
    )
    roofs = Roofs(1e11, (Bandwidth(2**20, 5e10),), 1e-6)
    found = explain(dense, pruned, LayerNames(network(64)), roofs, 16, 4)
    assert sum(part.dense_ms for part in found.parts) == pytest.approx(2.0)
    assert sum(part.pruned_ms for part in found.parts) == pytest.approx(1.5)
    assert sum(part.dense_macs for part in found.parts) == count(network(64), data).macs
    assert sum(part.pruned_macs for part in found.parts) == count(network(24), data).macs
    assert found.unplaced_macs == 0
    sides = {layer.name: (layer.dense, layer.pruned) for layer in found.layers}
    assert sides["2"][0].macs == 64 * 40 * 9 * 1024 and sides["2"][1].macs == 24 * 40 * 9 * 1024
    assert sides["2"][0].padding == pytest.approx(1 - 40 / 48) and sides["0"][1].padding == pytest.approx(0.25)
    assert sides["0"][0].padding == 0
    assert sum(side.nodes for side, _ in sides.values() if side) == len(dense.profile.nodes)


def test_the_best_of_nodes_and_whole_run_is_the_bandwidth():
    relu = NodeTime("/Relu", "Relu", ((1, 1000),), ((1, 1000),), 1000, 1000, 4e-6)
    mean = NodeTime("/Mean", "ReduceMean", ((1, 1000),), ((1,),), 1000, 1, 1e-6)  # too short to be known
    assert best_rate(profile_of([relu, mean], 1.0), 4000) == pytest.approx(8000 / 4e-6)
    assert best_rate(profile_of([relu], 1e-6), 4000) == pytest.approx(12000 / 1e-6)


def test_roofs_of_this_machine_are_of_sane_order(tmp_path, monkeypatch):
    monkeypatch.setattr(device_roofs, "MOVED_BYTES", (2**20, 2**26))  # fewer and smaller than in use: quicker
    monkeypatch.setattr(device_roofs, "CONVOLUTIONS", ((64, 3, 40),))
    store = MeasurementStore(tmp_path / "store.sqlite")
    roofs = find_roofs(QUICK, store)
    assert roofs.macs_per_s > 0.5 * roofs.memory_bytes_per_s / 4  # arithmetic outruns loading its operands singly
    assert roofs.bytes_per_s(2**20) > 0.5 * roofs.memory_bytes_per_s  # a cache is hardly slower than what is behind it
    assert 0 < roofs.node_s < 1e-4
    # a node's fixed cost is small beside a matrix product of 256, which is small beside a second
    assert roofs.node_s < 256**3 / roofs.macs_per_s < 1
    monkeypatch.setattr(device_roofs, "_measure_roofs", None)  # what is in the store is not measured again
    assert find_roofs(QUICK, store) == roofs
    assert record_key("roofs", QUICK, "") != record_key("step", QUICK, "")
