"""What could be deployed instead, measured for real on small networks."""

import io

import pytest
import torch
from rich.console import Console
from rich.progress import Progress
from torch import nn

from deploy_prune.errors import InputError
from deploy_prune.export.onnx import export_onnx
from deploy_prune.hardware.profile import HardwareProfile, MeasuringLimits
from deploy_prune.pipeline.alternatives import (
    Candidate,
    int8_versions,
    measure_alternatives,
)
from deploy_prune.pipeline.family import family_members, smaller_models
from deploy_prune.pipeline.latency_budget import Budget
from deploy_prune.pipeline.network_alternatives import network_candidates
from deploy_prune.runtime.measure import compare

pytest.importorskip("onnxruntime")

QUICK = HardwareProfile(
    name="quick",
    engine="onnxruntime",
    measuring=MeasuringLimits(min_runs=10, min_s=0.05, max_s=1.0, ci_width=0.05, pairs=2),
)
INPUTS = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def network():
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 32, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10)).eval()


@pytest.fixture(scope="module")
def dense(tmp_path_factory):
    return export_onnx(network(), INPUTS, tmp_path_factory.mktemp("dense") / "dense.onnx")


def test_inputs_of_other_sizes_are_compared_only_when_asked(dense, tmp_path):
    small = export_onnx(network(), INPUTS[..., :32, :32], tmp_path / "small.onnx")
    with pytest.raises(InputError, match=r"their conditions differ in inputs"):
        compare(dense, small, QUICK, rounds=1)
    assert compare(dense, small, QUICK, rounds=1, across_inputs=True).speedup > 1  # a quarter of the pixels


def test_each_candidate_is_measured_against_dense_and_judged_at_the_budget(dense, tmp_path):
    def broken(path):
        raise InputError("this network takes no such input")

    candidates = [
        *int8_versions(dense, INPUTS, lambda file: 0.25 if file.is_file() else 0.0),
        Candidate("broken", "smaller", broken, None, ""),
        Candidate("itself", "smaller", lambda path: export_onnx(network(), INPUTS, path), None, "the same"),
    ]
    said = io.StringIO()
    with Progress(console=Console(file=said, width=200)) as progress:
        found = measure_alternatives(candidates, dense, QUICK, Budget(speedup=1000.0), tmp_path, progress)
    assert [one.name for one in found] == ["dense, INT8 static", "itself"]
    assert "left out: broken: this network takes no such input" in said.getvalue()
    assert found[0].metric == 0.25 and found[0].note.startswith("2 of 3 convolutions")  # not the last product
    assert all(one.low <= one.speedup <= one.high and not one.met for one in found)
    assert list(tmp_path.iterdir()) == []
    (again,) = measure_alternatives(candidates[-1:], dense, QUICK, Budget(latency_s=10.0), tmp_path)
    assert again.met and again.metric is None and 0.3 < again.speedup < 3


@pytest.mark.parametrize(
    ("name", "members"),
    [
        ("resnet50", ("resnet18", "resnet34", "resnet101", "resnet152")),
        ("convnext_tiny", ("convnext_base", "convnext_large", "convnext_small")),
        ("efficientnet_b2", ("efficientnet_b0", "efficientnet_b7")),
        ("wide_resnet50_2", ()),
        ("vit_b_16", ("vit_b_32", "vit_l_16")),
    ],
)
def test_a_family_differs_in_numbers_and_size_words(name, members):
    known = (
        *("resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "resnext50_32x4d", "wide_resnet50_2"),
        *("convnext_base", "convnext_large", "convnext_small", "convnext_tiny", "efficientnet_b0", "efficientnet_b2"),
        *("efficientnet_b7", "efficientnet_v2_s", "vit_b_16", "vit_b_32", "vit_l_16"),
    )
    assert family_members(name, known) == members


def test_smaller_models_are_found_in_the_librarys_own_list():
    pytest.importorskip("torchvision")
    assert smaller_models("torchvision/resnet50") == ("torchvision/resnet34", "torchvision/resnet18")
    assert smaller_models("torchvision/resnet18") == ()
    assert smaller_models("mymodels:build") == ()


def test_a_network_without_a_task_has_candidates_too(dense, tmp_path):
    found = network_candidates(None, network(), INPUTS, dense)
    assert [(one.name, one.kind) for one in found] == [
        ("dense at 32 pixels", "resolution"), ("dense, INT8 static", "int8"),
    ]  # fmt: skip
    assert found[0].write(tmp_path / "low.onnx").is_file()
