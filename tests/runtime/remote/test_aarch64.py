"""The worker on 64-bit Arm, emulated, behind a real ssh: real Python, NumPy and ONNX Runtime of that processor.

Opt-in: set_up_aarch64.py beside this file fetches them. An emulator's times mean nothing, and none is asserted.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from deploy_prune.errors import InputError
from deploy_prune.runtime.hosts import find_host
from deploy_prune.runtime.measure import compare, measure, profile_nodes
from deploy_prune.runtime.runner import Runner

FOLDER = os.environ.get("DEPLOY_PRUNE_AARCH64")
pytestmark = [
    pytest.mark.aarch64,
    pytest.mark.skipif(FOLDER is None, reason="set DEPLOY_PRUNE_AARCH64: see tests/runtime/remote/set_up_aarch64.py"),
]
ANSWER = """
import json, sys, numpy, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
x = numpy.random.default_rng(7).random(session.get_inputs()[0].shape, dtype=numpy.float32)
print(json.dumps(session.run(None, {session.get_inputs()[0].name: x})[0].tolist()))
"""


@pytest.fixture
def arm(board, brief):
    """The ssh board's profile, whose Python is that of the other processor."""
    return board.profile(brief, python=str(Path(FOLDER, "python")), architecture="aarch64")


def answer(python, model):
    done = subprocess.run([python, "-c", ANSWER, model], check=True, capture_output=True, text=True, timeout=120)
    return np.array(json.loads(done.stdout))


def test_the_machine_is_what_its_python_sees(arm):
    host = find_host(arm)
    assert host.machine.architecture == "aarch64"
    assert {"asimd", "asimddp"} <= set(host.machine.flags) and not {"sve", "i8mm"} & set(host.machine.flags)
    assert "onnxruntime" in host.engines and "torch" not in host.engines


def test_a_model_is_measured_there_and_nothing_is_left(arm, board, make_model, brief):
    timing = measure(make_model(), arm)
    assert timing.n >= 10 and timing.median_s > 0
    assert timing.conditions.inputs == ("float32[1, 3, 16, 16]",)
    assert timing.conditions.provider == "CPUExecutionProvider"
    with Runner(make_model(), brief) as here:
        assert here.conditions().machine != timing.conditions.machine
    assert board.is_clean()


def test_models_are_compared_there(arm, make_model):
    assert len(compare(make_model(16), make_model(32), arm, rounds=2).pairs) == arm.measuring.pairs


def test_nodes_are_those_of_the_file_as_here(arm, make_model, brief):
    there, here = (profile_nodes(make_model(), profile) for profile in (arm, brief))
    convolutions = [[node.name for node in p.nodes if node.name.endswith("Conv")] for p in (there, here)]
    assert convolutions == [["/conv1/Conv", "/conv2/Conv"]] * 2
    assert all(node.time_s > 0 for node in there.nodes if node.name.endswith("Conv"))


def test_outputs_agree_with_those_of_this_processor(make_model):
    """Other kernels add in another order: float32 has 24 bits, and a sum of 288 products loses a few of them."""
    model = make_model()
    here, there = answer(sys.executable, model), answer(Path(FOLDER, "python"), model)
    assert here.shape == there.shape == (1, 10)
    np.testing.assert_allclose(there, here, rtol=1e-5, atol=1e-6)


def test_a_profile_for_this_processor_is_refused_there(arm, make_model):
    with pytest.raises(InputError, match=r"cannot run on board: it is for x86_64, board is aarch64"):
        Runner(make_model(), arm.model_copy(update={"architecture": "x86_64"}))
