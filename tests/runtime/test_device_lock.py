"""One measurement on this machine at a time: real processes that hold, wait, and are killed."""

import os
import signal
import subprocess
import sys
import time

import pytest

from deploy_prune.errors import InputError, MeasurementError
from deploy_prune.runtime import device_lock
from deploy_prune.runtime.device_lock import held_machine, lock_path

HOLD = """
import sys, time
from deploy_prune.runtime.device_lock import held_machine
with held_machine():
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path, monkeypatch):
    """Another process that measures until its stdin is closed."""
    monkeypatch.setenv("DEPLOY_PRUNE_LOCKS", str(tmp_path / "locks"))
    process = subprocess.Popen([sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_who_comes_second_waits_and_is_told_for_whom(holder):
    told = rf"another job \(process {holder.pid}\) for longer than 0.2 s"
    with pytest.raises(MeasurementError, match=told), held_machine(wait_s=0.2):
        pass


def test_the_wait_ends_when_the_other_does(holder):
    holder.stdin.close()
    with held_machine(wait_s=20):
        assert lock_path().read_text() == str(os.getpid())


def test_a_killed_process_holds_nothing(holder):
    holder.send_signal(signal.SIGKILL)
    with held_machine(wait_s=20):
        pass


def test_what_is_started_meanwhile_does_not_keep_the_lock(tmp_path, monkeypatch):
    monkeypatch.setenv("DEPLOY_PRUNE_LOCKS", str(tmp_path))
    with held_machine():
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(30)"])
    try:
        start = time.monotonic()
        with held_machine(wait_s=20):
            assert child.poll() is None and time.monotonic() - start < 20
    finally:
        child.kill()
        child.wait()


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("DEPLOY_PRUNE_LOCKS", str(tmp_path / "file"))
    with (
        pytest.raises(InputError, match="cannot be opened: Not a directory; name another folder in DEPLOY_PRUNE_LOCKS"),
        held_machine(),
    ):
        pass


def test_a_link_is_not_followed(tmp_path, monkeypatch):
    monkeypatch.setenv("DEPLOY_PRUNE_LOCKS", str(tmp_path))
    (tmp_path / "target").write_text("mine")
    lock_path().symlink_to(tmp_path / "target")
    with pytest.raises(InputError, match="cannot be opened"), held_machine():
        pass
    assert (tmp_path / "target").read_text() == "mine"


def test_measurements_hold_it(tmp_path, monkeypatch, holder):
    """A measurement that cannot have the machine ends with the lock's own line, before anything is loaded."""
    from deploy_prune.hardware.profile import load_profile
    from deploy_prune.runtime.measure import compare, measure, profile_nodes

    monkeypatch.setattr(device_lock, "BUSY_WAIT_S", 0.0)
    profile, model = load_profile("cpu-onnxruntime"), tmp_path / "none.onnx"
    for take in (lambda: measure(model, profile), lambda: compare(model, model, profile),
                 lambda: profile_nodes(model, profile)):  # fmt: skip
        with pytest.raises(MeasurementError, match="another job"):
            take()
