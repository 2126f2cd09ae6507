"""Jobs in local processes that fail, are killed, or are interrupted; their models hang, or do not fit."""

import os
import signal
import time
from pathlib import Path

import pytest
from pipeline.fleet_place import make_place, start_sweep, write_sweep


@pytest.fixture
def place(tmp_path):
    return make_place(tmp_path)


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.05)
    return found


def hanging_job(place):
    """The process number of a job that loads its model for ever."""
    return int(wait_for(lambda: (place / "pid").exists() and (place / "pid").read_text()))


def is_gone(pid):
    """A process that nobody has asked for its exit code yet is gone too (state Z of /proc/PID/stat)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_a_killed_job_is_one_line_and_the_others_go_on(place):
    write_sweep(place, models=["models:hang", "models:pair", "models:none"])
    sweep = start_sweep(place, "--out", "out")
    os.kill(hanging_job(place), signal.SIGKILL)
    said, errors = sweep.communicate()
    assert sweep.returncode == 1 and errors == ""
    killed, refused, unknown = said.splitlines()[:3]
    assert killed.startswith("models:hang on onnxruntime: failed: its process ended with signal 9: it said nothing (")
    assert killed.endswith("models_hang/onnxruntime.log has more); the same command goes on where it was")
    assert refused == (
        "models:pair on onnxruntime: failed: models:pair takes a tuple; only models of one tensor can be exported and "
        "measured yet"
    )
    assert unknown.endswith("module models has no function 'none'; give one that returns the model")
    assert (place / "out" / "fleet.md").read_text().count("Failed: models:") == 3


def test_an_interrupted_sweep_leaves_no_process_and_says_how_to_go_on(place):
    write_sweep(place, models=["models:hang"])
    sweep = start_sweep(place, "--out", "out")
    job = hanging_job(place)
    sweep.send_signal(signal.SIGINT)
    _, errors = sweep.communicate()
    assert sweep.returncode == 130 and errors == (
        "interrupted; continue with: deploy-prune sweep sweep.yaml --out out\n"
    )
    assert is_gone(job)


def test_a_killed_sweep_takes_its_jobs_along_and_lets_its_folder_go(place):
    write_sweep(place, models=["models:hang"])
    sweep = start_sweep(place, "--out", "out")
    job = hanging_job(place)
    second = start_sweep(place, "--out", "out")
    _, errors = second.communicate()
    assert second.returncode == 2 and f"another run (process {sweep.pid}) is working in" in errors
    sweep.kill()
    sweep.communicate()
    wait_for(lambda: is_gone(job))


def test_a_cluster_that_is_not_there_is_one_line(place):
    pytest.importorskip("ray", reason="the extra fleet is not installed")
    write_sweep(place)
    sweep = start_sweep(place, "--ray", "127.0.0.1:1", "--out", "out")
    _, errors = sweep.communicate()
    assert sweep.returncode == 2 and errors == (
        "error: no Ray cluster at '127.0.0.1:1': [Errno 111] Connection refused; start one with `ray start --head`, or "
        "leave --ray out\n"
    )
