"""A search under an INT8 or FP16 profile measures files of that precision, and its tables are kept apart."""

import pytest
import torch
from torch import nn

import deploy_prune
from deploy_prune.errors import InputError
from deploy_prune.export.onnx import export_onnx
from deploy_prune.hardware.profile import HardwareProfile, MeasuringLimits
from deploy_prune.pipeline.device import Device, record_key
from deploy_prune.pipeline.device_roofs import _macs_per_s
from deploy_prune.pipeline.device_step import WIDTHS
from deploy_prune.pipeline.precise_export import precise_export
from deploy_prune.pipeline.prune_request import PruneRequest
from deploy_prune.runtime.file_precision import read_precision
from deploy_prune.search.prunable import Prunable
from deploy_prune.store import MeasurementStore

pytest.importorskip("onnxruntime")
INPUTS = torch.rand(1, 3, 48, 48, generator=torch.Generator().manual_seed(0))
BRIEF = MeasuringLimits(min_runs=10, min_s=0.05, max_s=1.0, ci_width=0.03, pairs=2)
INT8 = HardwareProfile(name="quick", engine="onnxruntime", precision="int8", measuring=BRIEF)


def network():
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 64, 3, padding=1), nn.ReLU()]
    for _ in range(2):
        layers += [nn.Conv2d(64, 64, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)).eval()


def export(model, path):
    return export_onnx(model, INPUTS, path)


def test_files_are_written_in_the_profiles_precision(tmp_path):
    asked = []

    def inputs():
        asked.append(1)
        return INPUTS

    for precision in ("fp32", "fp16", "int8"):
        write = precise_export(export, INT8.model_copy(update={"precision": precision}), inputs)
        for _ in range(2):
            assert read_precision(write(network(), tmp_path / "net.onnx")) == precision
    assert len(asked) == 1


def test_measurements_of_different_precisions_have_different_keys():
    profiles = [INT8.model_copy(update={"precision": precision}) for precision in ("fp32", "fp16", "int8")]
    assert len({record_key("variant", profile, "the same") for profile in profiles}) == 3


def test_variants_are_profiled_in_int8(tmp_path):
    model = network()
    prunable, write = Prunable.of(model, INPUTS), precise_export(export, INT8, lambda: INPUTS)
    dense = write(model, tmp_path / "dense.onnx")
    device = Device(INT8, write, dense, 1e-3, MeasurementStore(tmp_path / "own.sqlite"), tmp_path)
    full = prunable.full_widths
    samples = [device.profile_widths(prunable, {name: share * width // 4 for name, width in full.items()})
               for share, width in ((4, 64), (2, 64))]  # fmt: skip
    for sample in samples:
        ops = {node.name: node.op for node in sample.nodes}
        assert [ops[name] for name in ("/0/Conv", "/2/Conv", "/4/Conv")] == ["QLinearConv"] * 3, ops
    sizes = [{node.name: node.output_numel for node in sample.nodes}["/2/Conv"] for sample in samples]
    assert sizes == [64 * 48 * 48, 32 * 48 * 48]


@pytest.mark.slow
def test_a_budget_is_met_in_int8(tmp_path):
    store = tmp_path / "own.sqlite"
    step = record_key("step", INT8, f"two 3x3 convolutions, 64 to {WIDTHS} to 64 channels on 20x20")
    MeasurementStore(store).put(step, {"step": 16}, "test")
    images = torch.rand(8, 3, 48, 48, generator=torch.Generator().manual_seed(1))
    result = deploy_prune.prune_to_latency(
        network(), INPUTS, profile=INT8, speedup=1.5, calibration=images, store=store
    )
    assert result.pruned_count.macs < result.dense_count.macs
    assert {timing.conditions.file_precision for timing in (result.dense, result.pruned)} == {"int8"}


def test_the_rate_of_arithmetic_is_that_of_the_precision(tmp_path):
    model = nn.Sequential(*(nn.Conv2d(64, 64, 3, padding=1) for _ in range(3)))
    assert _macs_per_s(model, torch.rand(1, 64, 20, 20), INT8, tmp_path / "roof.onnx") > 0


def test_int8_without_real_inputs_is_refused():
    with pytest.raises(InputError, match=r"'quick' is in int8, whose ranges need real inputs: give calibration"):
        deploy_prune.prune_to_latency(network(), INPUTS, profile=INT8, speedup=1.5)
    with pytest.raises(InputError, match=r"'quick' is in int8, whose ranges need real inputs: give --calibration"):
        PruneRequest("torchvision/resnet18", (), INT8).open()
