"""PyTorch as it is installed, on the CPU: exported programs, measured as a whole."""

import shutil

import pytest
import torch
from torch import nn

from deploy_prune.errors import InputError
from deploy_prune.hardware.profile import HardwareProfile
from deploy_prune.runtime.measure import compare, measure, profile_nodes
from deploy_prune.runtime.runner import Runner
from deploy_prune.runtime.worker.torch_engine import move_program

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")


class Net(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, width, 3), nn.ReLU(), nn.Conv2d(width, width, 3))

    def forward(self, x):
        return self.layers(x).mean((2, 3))


@pytest.fixture
def make_program(tmp_path):
    def make(width=8, batch=1, dtype=torch.float32):
        path = tmp_path / f"net_{width}_{batch}_{dtype}.pt2"
        program = torch.export.export(Net(width).eval().to(dtype), (torch.rand(batch, 3, 16, 16, dtype=dtype),))
        torch.export.save(program, path)
        return path

    return make


@pytest.fixture
def eager(brief):
    return HardwareProfile.model_validate({**brief.model_dump(), "engine": "torch", "mode": "eager"})


def refusal(model, profile):
    with pytest.raises(InputError) as caught:
        Runner(model, profile)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_eager(make_program, eager):
    conditions = measure(make_program(), eager).conditions
    assert (conditions.engine, conditions.mode, conditions.device) == ("torch", "eager", "cpu")
    assert (conditions.inputs, conditions.executed_precision) == (("float32[1, 3, 16, 16]",), "float32")
    assert (conditions.timer, conditions.engine_version) == ("host", torch.__version__)


@needs_compiler
@pytest.mark.slow
def test_compile_and_the_first_run_is_no_sample(make_program, eager):
    profile = HardwareProfile.model_validate({**eager.model_dump(), "mode": "compile"})
    with Runner(make_program(), profile) as runner:
        warm = runner.warm_up()
        assert len(warm) >= 10  # compiling takes far longer than warming up may, and does not end it
        assert runner.conditions().mode == "compile"


def test_models_are_compared(make_program, eager):
    assert compare(make_program(8), make_program(256), eager, rounds=2).speedup < 1


def test_precision_is_that_of_the_weights(make_program, eager):
    model = make_program(dtype=torch.bfloat16)
    assert "its weights are bfloat16, the profile's 'precision' is fp32" in refusal(model, eager)
    halved = HardwareProfile.model_validate({**eager.model_dump(), "precision": "bf16"})
    with Runner(model, halved) as runner:
        assert runner.conditions().inputs == ("bfloat16[1, 3, 16, 16]",)
        assert len(runner.run(2, 10.0)) == 2


def test_batch_of_the_program_and_the_profile_differ(make_program, eager):
    assert "has a batch of 2, the profile's 'batch' is 1" in refusal(make_program(batch=2), eager)


def test_files_that_are_no_program(make_program, eager, make_model, tmp_path):
    cut = tmp_path / "cut.pt2"
    cut.write_bytes(make_program().read_bytes()[:500])
    assert refusal(cut, eager).startswith(f"{cut} is not a model that torch can run (")
    model = make_model()
    assert refusal(model, eager) == f"{model} is no .pt2 file, which is what torch reads; export it as one"


def test_layers_are_not_profiled(make_program, eager):
    with pytest.raises(InputError, match="PyTorch has no profile of layers here; it can be measured as a whole only"):
        profile_nodes(make_program(), eager)


class Grid(Net):
    """Makes a tensor in its forward pass, whose device the export writes down."""

    def forward(self, x):
        return super().forward(x) + torch.arange(x.shape[1] + 5, device=x.device)


def test_a_program_moves_with_the_tensors_that_it_makes(tmp_path):
    """To ``meta``, the other device that every machine has."""
    torch.export.save(torch.export.export(Grid(8).eval(), (torch.rand(1, 3, 16, 16),)), tmp_path / "grid.pt2")
    x = torch.rand(1, 3, 16, 16, device="meta")
    with torch.inference_mode():
        moved = move_program(torch.export.load(tmp_path / "grid.pt2"), "meta").module()
        assert (moved(x).device.type, moved(x).shape) == ("meta", (1, 8))
        with pytest.raises(RuntimeError, match="device"):
            torch.export.load(tmp_path / "grid.pt2").module().to("meta")(x)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
@pytest.mark.parametrize("mode", ["eager", "compile", "cuda_graph"])
def test_without_a_gpu(make_program, eager, mode):
    profile = HardwareProfile.model_validate({**eager.model_dump(), "mode": mode, "device": "cuda"})
    assert refusal(make_program(), profile).startswith("the profile 'brief' cannot run here: no NVIDIA GPU")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU")
@pytest.mark.parametrize("mode", ["eager", "compile", "cuda_graph"])
def test_on_a_gpu(make_program, eager, mode):
    profile = HardwareProfile.model_validate({**eager.model_dump(), "mode": mode, "device": "cuda"})
    timing = measure(make_program(64), profile)
    assert timing.conditions.timer == "device events"
    assert all(sample > 0 for sample in timing.samples_s) and set(timing.waits_s) == {0.0}
