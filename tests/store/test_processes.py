"""Real processes and one file: writing at once, killed while writing, no place to write."""

import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from store.make import CONV, RELU, key

from deploy_prune.store import MeasurementStore

WRITE = """
import sys
from pathlib import Path
from deploy_prune.store import MeasurementStore
from store.make import key, rows
path, name, count, layers = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
for n in range(count):
    MeasurementStore(Path(path)).put(key(f"{name} {n}"), {"layers": layers}, name, rows(layers))
    print(n, flush=True)
"""


def start(script, *arguments):
    tests = str(Path(__file__).parents[1])
    paths = [tests, str(Path(tests).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
    )  # fmt: skip


def assert_sound(path):
    """No damage, and each variant has all of its layers."""
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    for measurement in MeasurementStore(path).measurements():
        assert len(measurement.layers) == measurement.content["layers"]


def test_processes_that_make_the_file_and_write_at_once_lose_nothing(tmp_path):
    path = tmp_path / "new" / "measurements.sqlite"
    writers = [start(WRITE, path, name, 15, 20) for name in "abcd"]
    for writer in writers:
        out, errors = writer.communicate(timeout=120)
        assert (errors, len(out.split())) == ("", 15)
    assert len(list(MeasurementStore(path).measurements())) == 60
    place = key()
    assert len(MeasurementStore(path).layers(place.machine, place.engine, place.conditions, [CONV, RELU])) == 60 * 20
    assert_sound(path)


def test_a_writer_that_is_killed_leaves_whole_measurements(tmp_path):
    path = tmp_path / "measurements.sqlite"
    acknowledged = 0
    for attempt in range(4):
        writer = start(WRITE, path, f"try{attempt}", 10_000, 400)
        for _ in range(3):
            assert writer.stdout.readline().strip().isdigit()
        time.sleep(0.003 * attempt)  # another place within a write each time
        writer.send_signal(signal.SIGKILL)
        acknowledged += 3 + len(writer.stdout.read().split())
        writer.wait()
    assert acknowledged <= len(list(MeasurementStore(path).measurements())) <= acknowledged + 4
    assert_sound(path)


SMALL_DISK = """
import resource, sys
from pathlib import Path
from deploy_prune.errors import InputError
from deploy_prune.store import MeasurementStore
from store.make import key, rows
store = MeasurementStore(Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
for n in range(1000):
    try:
        store.put(key(str(n)), {"layers": 3, "text": "x" * 20_000}, "net", rows(3))
    except InputError as error:
        print(n, error)
        break
"""


def test_a_disk_that_fills_up_is_one_line_and_what_was_written_stays(tmp_path):
    path = tmp_path / "measurements.sqlite"
    out, errors = start(SMALL_DISK, path).communicate(timeout=60)
    assert errors == ""
    (line,) = out.splitlines()
    written, _, message = line.partition(" ")
    assert message.startswith(f"{path} cannot be used as a file of measurements (") and "disk" in message
    assert len(list(MeasurementStore(path).measurements())) == int(written) > 2
    assert_sound(path)


NO_PERMISSION = """
import os, sys
from pathlib import Path
from deploy_prune.errors import InputError
from deploy_prune.store import MeasurementStore
from store.make import key
if os.geteuid() == 0:
    os.setuid(65534)  # root may write anywhere
for take in (lambda: MeasurementStore(Path(sys.argv[1])).put(key("new"), {}, "net"),
             lambda: print(len(list(MeasurementStore(Path(sys.argv[1]), existing=True).measurements()))),
             lambda: MeasurementStore(Path(sys.argv[1] + "-new"))):
    try:
        take()
    except InputError as error:
        print(error)
"""


@pytest.mark.skipif(not hasattr(os, "setuid"), reason="needs users")
def test_a_folder_that_cannot_be_written_can_be_read():
    with tempfile.TemporaryDirectory() as folder:  # its parents are open to everybody, those of tmp_path are not
        path = Path(folder) / "measurements.sqlite"
        MeasurementStore(path).put(key(), {}, "net")
        Path(folder).chmod(0o555)
        path.chmod(0o444)
        try:
            out, errors = start(NO_PERMISSION, path).communicate(timeout=60)
        finally:
            Path(folder).chmod(0o755)
    assert errors == ""
    put, count, new = out.splitlines()
    assert put.startswith(f"{path} cannot be used as a file of measurements (") and put.endswith("; choose another")
    assert count == "1"
    assert new.startswith(f"{path}-new cannot be used as a file of measurements (")
