"""A training that is killed and repeated ends with the weights of one that was left alone."""

import signal
import subprocess
import sys
import time

import torch


def test_killed_run_ends_with_the_same_weights(data, narrowing, tmp_path):
    whole = narrowing.train(data, tmp_path / "whole")

    broken = subprocess.Popen([sys.executable, narrowing.path, data, tmp_path / "broken"])
    state = tmp_path / "broken" / "training_state.pt"
    while not state.exists():
        assert broken.poll() is None, "the run ended before its first state was written"
        time.sleep(0.02)
    broken.send_signal(signal.SIGKILL)
    broken.wait()
    assert torch.load(state, weights_only=True)["epochs_done"] < narrowing.EPOCHS
    continued = narrowing.train(data, tmp_path / "broken")

    assert whole.keys() == continued.keys()
    assert all(torch.equal(whole[name], continued[name]) for name in whole)
