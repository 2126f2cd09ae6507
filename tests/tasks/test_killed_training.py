"""A training that is killed and repeated ends with the weights of one that was left alone."""

import signal
import subprocess
import sys
import time

import pytest
import torch

from deploy_prune.datasets import write_digits


@pytest.mark.parametrize("name", ["detect", "classify", "pose"])
def test_killed_run_ends_with_the_same_weights(narrowing, tmp_path, name):
    data = write_digits(name, tmp_path / "set", train=10, val=10, image_size=64)
    whole = narrowing.train(data, tmp_path / "whole", name)

    broken = subprocess.Popen([sys.executable, narrowing.path, data, tmp_path / "broken", name])
    state = tmp_path / "broken" / "training_state.pt"
    while not state.exists():
        assert broken.poll() is None, "the run ended before its first state was written"
        time.sleep(0.02)
    broken.send_signal(signal.SIGKILL)
    broken.wait()
    assert torch.load(state, weights_only=True)["epochs_done"] < narrowing.EPOCHS
    continued = narrowing.train(data, tmp_path / "broken", name)

    assert whole.keys() == continued.keys()
    assert all(torch.equal(whole[name], continued[name]) for name in whole)
