"""Real processes: what they print, how they die, and that none is left behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deploy_prune.errors import MeasurementError
from deploy_prune.runtime.client import WorkerProcess
from deploy_prune.runtime.worker.refusal import RefusedError

CONDITIONS = {
    "engine": "onnxruntime",
    "threads": 1,
    "spinning": False,
    "affinity": None,
    "device": "cpu",
    "batch": 1,
    "axes": {},
}


@pytest.fixture
def engine_that(tmp_path, monkeypatch):
    """Puts a stand-in for the engine on the worker's path, whose import does what is asked."""

    def install(source):
        (tmp_path / "onnxruntime.py").write_text(source)
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    return install


def load(worker, timeout_s=30.0):
    return worker.request("load", timeout_s=timeout_s, model="m.onnx", conditions=CONDITIONS, profiling=False)


def is_alive(pid):
    """False also for a process that has ended and that its parent has not asked about."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_for_end(pid, seconds=15.0):
    end = time.monotonic() + seconds
    while is_alive(pid) and time.monotonic() < end:
        time.sleep(0.05)
    return not is_alive(pid)


def test_what_the_engine_prints_does_not_corrupt_the_replies(engine_that):
    engine_that("import os; print('noise'); os.system('echo more noise'); raise ImportError('no wheel')")
    with WorkerProcess() as worker:
        for _ in range(2):
            with pytest.raises(RefusedError, match="no wheel") as caught:
                load(worker)
            assert caught.value.kind == "missing"


def test_a_dying_engine_leaves_its_last_words(engine_that):
    engine_that("import os, sys; sys.stderr.write('illegal instruction, sorry\\n'); os._exit(3)")
    with WorkerProcess() as worker, pytest.raises(MeasurementError) as caught:
        load(worker)
    assert str(caught.value) == ("the measuring process died during 'load' (exit code 3): illegal instruction, sorry")


def test_a_killed_worker_is_reported_with_its_signal():
    with WorkerProcess() as worker:
        worker.request("state", timeout_s=30)
        os.kill(worker.pid, signal.SIGKILL)
        with pytest.raises(MeasurementError, match=r"died during 'state' \(signal 9\): without a word"):
            worker.request("state", timeout_s=30)


def test_a_hanging_worker_is_killed_in_time(engine_that):
    engine_that("import time; time.sleep(600)")
    with WorkerProcess() as worker:
        worker.request("state", timeout_s=30)
        with pytest.raises(MeasurementError, match=r"did not answer 'load' within 0.5 s and was ended"):
            load(worker, timeout_s=0.5)
        assert not is_alive(worker.pid)


def test_a_python_that_does_not_exist(tmp_path):
    missing = str(tmp_path / "python")
    with pytest.raises(MeasurementError) as caught:
        WorkerProcess((missing,))
    assert str(caught.value) == f"cannot start {missing}: No such file or directory"


def test_requests_that_make_no_sense_are_answered_and_the_worker_lives_on():
    with WorkerProcess() as worker:
        with pytest.raises(RefusedError, match="unknown request 'dance'"):
            worker.request("dance", timeout_s=30)
        with pytest.raises(RefusedError, match="no model is loaded"):
            worker.request("run", timeout_s=30, runs=1, max_s=1.0)
        with pytest.raises(RefusedError, match=r"TypeError: .*unexpected keyword") as caught:
            worker.request("run", timeout_s=30, runz=1)
        assert caught.value.kind == "failed"
        assert worker.request("state", timeout_s=30)["time_s"] > 0


def test_files_of_the_current_folder_are_not_imported(tmp_path, monkeypatch):
    (tmp_path / "json.py").write_text("raise RuntimeError('the wrong json')")
    monkeypatch.chdir(tmp_path)
    with WorkerProcess() as worker:
        assert worker.request("state", timeout_s=30)["time_s"] > 0


def test_leaving_the_context_ends_the_worker_also_after_an_error():
    with pytest.raises(KeyError), WorkerProcess() as worker:
        raise KeyError
    assert not is_alive(worker.pid)


MEASURE_FOREVER = """
import signal, sys
from pathlib import Path
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs start with it ignored
from deploy_prune.hardware.profile import HardwareProfile
from deploy_prune.runtime.runner import Runner
profile = HardwareProfile.model_validate({"name": "long", "engine": "onnxruntime"})
with Runner(Path(sys.argv[1]), profile) as runner:
    print(runner._process.pid, flush=True)
    while True:
        runner.run(1000, 0.5)
"""


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGKILL], ids=["Ctrl-C", "kill -9"])
def test_no_worker_outlives_its_client(make_model, ending):
    command = [sys.executable, "-c", MEASURE_FOREVER, str(make_model())]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True) as client:
        try:
            worker_pid = int(client.stdout.readline())
            assert is_alive(worker_pid)
            os.killpg(client.pid, ending)  # as a terminal does: the client and its group
            client.wait(30)
        finally:
            client.kill()
    assert wait_for_end(worker_pid)
