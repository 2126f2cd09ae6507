"""The relay as a plain second process on pipes: what it keeps, what it refuses, and how it ends."""

import base64
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deploy_prune.errors import MeasurementError
from deploy_prune.runtime.client import WorkerProcess, worker_sources
from deploy_prune.runtime.worker import BOARD_MODULES, MODULES
from deploy_prune.runtime.worker.bootstrap import BOOTSTRAP
from deploy_prune.runtime.worker.refusal import RefusedError

PYTHON_38 = next(iter(sorted(Path.home().glob(".pyenv/versions/3.8.*/bin/python"))), None)
CONDITIONS = {"engine": "onnxruntime", "threads": 1, "spinning": False, "affinity": None, "batch": 1, "axes": {}}
TEXT = b"0123456789" * 1000
DIGEST = hashlib.sha256(TEXT).hexdigest()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """The folder of the relays of a test; their temporary files are in ``scratch`` beside it."""
    (tmp_path / "scratch").mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "scratch"))
    return tmp_path / "deploy_prune"


def start(python=sys.executable):
    worker = WorkerProcess((str(python),), modules=MODULES + BOARD_MODULES)
    worker.request("hello", timeout_s=30, modules=list(MODULES))
    return worker


def hold(worker, holder="me", power=None, root="/"):
    return worker.request("hold", timeout_s=30, holder=holder, purpose=f"a job of {holder}", power=power, root=root)


def put(worker, data, offset=0, digest=DIGEST):
    text = base64.b64encode(data).decode()
    return worker.request("put", timeout_s=30, digest=digest, offset=offset, data=text)


def find(worker):
    return worker.request("find", timeout_s=30, digest=DIGEST, size=len(TEXT))


def wait_until(true, seconds=15.0):
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.05)
    return true()


def test_a_file_comes_in_parts_and_is_kept_under_its_digest(cache):
    with start() as worker:
        assert find(worker) == {"bytes": 0, "whole": False}
        assert put(worker, TEXT[:4000]) == {"bytes": 4000}
    with start() as worker:
        assert find(worker) == {"bytes": 4000, "whole": False}
        put(worker, TEXT[4000:], 4000)
        worker.request("keep", timeout_s=30, digest=DIGEST)
        assert find(worker) == {"bytes": len(TEXT), "whole": True}
    assert (cache / "files" / DIGEST).read_bytes() == TEXT


def test_a_part_for_the_wrong_place_and_a_spoilt_file(cache):
    with start() as worker:
        find(worker)
        put(worker, b"something else")
        with pytest.raises(RefusedError, match="a part of a file came for byte 0, 14 are here"):
            put(worker, TEXT)
        with pytest.raises(RefusedError, match=f"arrived with the checksum .* instead of {DIGEST[:12]}") as caught:
            worker.request("keep", timeout_s=30, digest=DIGEST)
        assert caught.value.kind == "spoilt"
        assert find(worker) == {"bytes": 0, "whole": False}


def test_names_that_lead_elsewhere_are_refused(cache):
    with start() as worker:
        with pytest.raises(RefusedError, match="is no SHA-256"):
            put(worker, TEXT, digest="../../etc/passwd")
        with pytest.raises(RefusedError, match=r"'\.\./x' is no plain file name"):
            model = [["../x", DIGEST]]
            worker.request("load", timeout_s=30, model=model, conditions=CONDITIONS, profiling=False)


def test_a_file_larger_than_the_disk_is_refused_before_it_is_sent(cache):
    with start() as worker, pytest.raises(RefusedError, match=r"bytes left, \d+ are needed; make room") as caught:
        worker.request("find", timeout_s=30, digest=DIGEST, size=10**18)
    assert caught.value.kind == "disk"


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 64 KiB; skips where none can be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("a small file system needs the right to mount one")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_disk_that_fills_up_meanwhile(small_disk, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(small_disk))
    with start() as worker:
        find(worker)
        (small_disk / "other").write_bytes(b"x" * 60_000)
        with pytest.raises(RefusedError, match="deploy_prune/files is full; make room") as caught:
            for number in range(10):
                put(worker, TEXT, number * len(TEXT))
    assert caught.value.kind == "disk"


def test_one_client_at_a_time_with_as_many_workers_as_it_likes(cache):
    with start() as first, start() as second, start() as other:
        hold(first)
        hold(second)
        with pytest.raises(RefusedError, match="another job has measured here for 0 s: a job of me") as caught:
            hold(other, "you")
        assert caught.value.kind == "busy"
        first.end()
        with pytest.raises(RefusedError, match="a job of me"):
            hold(other, "you")
        second.end()
        assert wait_until(lambda: not (cache / "holder").exists())
        hold(other, "you")


def test_a_killed_relay_leaves_no_process_no_file_and_no_lock(cache, tmp_path):
    with start() as worker:
        hold(worker)
        state = worker.request("state", timeout_s=30)  # starts the child
        assert state["time_s"] > 0
        children = [int(p) for p in Path(f"/proc/{worker.pid}/task/{worker.pid}/children").read_text().split()]
        assert len(children) == 2  # the guard, and the process for the model
        os.kill(worker.pid, signal.SIGKILL)
        with pytest.raises(MeasurementError, match="signal 9"):
            worker.request("state", timeout_s=30)
        assert wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in children))
    assert list((tmp_path / "scratch").iterdir()) == []
    with start() as other:
        hold(other, "you")


def test_a_hanging_engine_does_not_outlive_its_client(cache, tmp_path, monkeypatch):
    (tmp_path / "onnxruntime.py").write_text("import time; time.sleep(600)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    worker = start()
    hold(worker)
    with pytest.raises(MeasurementError, match=r"did not answer 'load' within 0\.5 s"):
        worker.request("load", timeout_s=0.5, model="m.onnx", conditions=CONDITIONS, profiling=False)
    assert wait_until(lambda: not (cache / "holder").exists())
    assert list((tmp_path / "scratch").iterdir()) == []


def test_a_dying_engine_leaves_its_last_words_and_the_relay_lives(cache, tmp_path, monkeypatch):
    (tmp_path / "onnxruntime.py").write_text("import os, sys; sys.stderr.write('illegal\\n'); os._exit(3)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with start() as worker:
        message = r"the measuring process died during 'load' \(exit code 3\): illegal"
        with pytest.raises(RefusedError, match=message) as caught:
            worker.request("load", timeout_s=30, model="m.onnx", conditions=CONDITIONS, profiling=False)
        assert caught.value.kind == "died"
        assert find(worker)["whole"] is False


HELLO = json.dumps({"id": 1, "do": "hello", "modules": list(MODULES)}).encode() + b"\n"
CONVERSATION = worker_sources(MODULES + BOARD_MODULES) + HELLO + b"\n"


@pytest.mark.parametrize("cut", [0, 1, 1000, len(CONVERSATION) - len(HELLO) - 2, len(CONVERSATION) - 20, -1])
def test_the_end_of_its_input_at_any_byte_is_an_orderly_end(cache, tmp_path, cut):
    command = [sys.executable, "-u", "-c", BOOTSTRAP]
    done = subprocess.run(command, input=CONVERSATION[:cut], capture_output=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert list((tmp_path / "scratch").iterdir()) == []


@pytest.mark.skipif(PYTHON_38 is None, reason="no Python 3.8 under ~/.pyenv/versions")
def test_all_of_it_runs_on_python_38(cache):
    with start(PYTHON_38) as worker:
        hold(worker)
        find(worker)
        put(worker, TEXT)
        worker.request("keep", timeout_s=30, digest=DIGEST)
        device = worker.request("device", timeout_s=60, engines=["onnxruntime"], root="/")
        assert device["system"]["python"].startswith("3.8") and "proc/cpuinfo" in device["files"]
        with pytest.raises(RefusedError, match="No module named 'onnxruntime'"):
            model = [["m.onnx", DIGEST]]
            worker.request("load", timeout_s=30, model=model, conditions=CONDITIONS, profiling=False)
    assert not (cache / "holder").exists() or wait_until(lambda: not (cache / "holder").exists())


def test_an_old_python_says_so(cache):
    old = next(iter(sorted(Path.home().glob(".pyenv/versions/3.[67].*/bin/python"))), None)
    if old is None:
        pytest.skip("no Python 3.6 or 3.7 under ~/.pyenv/versions")
    with pytest.raises(MeasurementError, match=r"Python 3.8 or newer is needed, this is 3\.[67]"):
        start(old)
