"""Power modes and clocks are set and always put back; with stand-ins for sudo and NVIDIA's commands, no Jetson."""

import os
import signal
import time
from pathlib import Path

import pytest

from deploy_prune.errors import InputError
from deploy_prune.runtime.client import WorkerProcess
from deploy_prune.runtime.runner import Runner
from deploy_prune.runtime.worker import BOARD_MODULES, MODULES
from deploy_prune.runtime.worker.refusal import RefusedError

POLICY = {"mode": None, "governor": None, "clocks": "observed"}
STAND_INS = {
    # sudo -n COMMAND
    "sudo": '[ -e "$STATE/no-sudo" ] && { echo "sudo: a password is required" >&2; exit 1; }; shift; exec "$@"',
    # the answers have the form of NVIDIA's developer guide
    "nvpmodel": """
case "$1" in
  -q) n=$(cat "$STATE/mode"); [ "$n" = 0 ] && name=MAXN || name=15W; printf 'NV Power Mode: %s\\n%s\\n' $name $n ;;
  -p) printf 'POWER_MODEL: ID=0 NAME=MAXN\\nPOWER_MODEL: ID=1 NAME=15W\\n' ;;
  -m) echo "$2" > "$STATE/mode"; echo "mode $2" >> "$STATE/log" ;;
esac""",
    "jetson_clocks": """
case "$1" in
  --store) echo stored > "$2" ;;
  --restore) grep -q stored "$2" && echo restored >> "$STATE/log" ;;
  *) [ -e "$STATE/broken" ] && { echo "Error: unable to lock"; exit 1; }; echo locked >> "$STATE/log" ;;
esac""",
}


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A folder with the stand-ins' state and two cores' cpufreq under ``root``."""
    for name in ("bin", "scratch", "state"):
        (tmp_path / name).mkdir()
    for core in (0, 1):
        folder = tmp_path / f"root/sys/devices/system/cpu/cpu{core}/cpufreq"
        folder.mkdir(parents=True)
        for name, text in {
            "scaling_governor": "ondemand",
            "scaling_min_freq": "600",
            "scaling_max_freq": "2400",
        }.items():
            (folder / name).write_text(text)
    (tmp_path / "state/mode").write_text("1")
    for name, text in STAND_INS.items():
        install(tmp_path, name, text)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
    monkeypatch.setenv("STATE", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "scratch"))
    return tmp_path


def install(machine, name, text):
    (machine / "bin" / name).write_text(f"#!/bin/sh\n{text}\n")
    (machine / "bin" / name).chmod(0o755)


def start():
    worker = WorkerProcess(modules=MODULES + BOARD_MODULES)
    worker.request("hello", timeout_s=30, modules=list(MODULES))
    return worker


def hold(worker, machine, **policy):
    power = {**POLICY, **policy}
    return worker.request("hold", timeout_s=30, holder="me", purpose="a test", power=power, root=str(machine / "root"))[
        "changes"
    ]


def log(machine):
    path = machine / "state/log"
    return path.read_text().split("\n")[:-1] if path.exists() else []


def read(machine, name):
    return [path.read_text().strip() for path in sorted((machine / "root").rglob(name))]


def wait_until(true, seconds=15.0):
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.05)
    return true()


def test_a_jetson_is_set_and_put_back_in_the_opposite_order(machine):
    with start() as worker:
        assert hold(worker, machine, mode="MAXN", clocks="locked") == [
            "power mode 15W -> MAXN", "clocks -> locked by jetson_clocks",
        ]  # fmt: skip
        assert log(machine) == ["mode 0", "locked"]
    assert wait_until(lambda: log(machine) == ["mode 0", "locked", "restored", "mode 1"])
    assert wait_until(lambda: not (machine / "deploy_prune/power.json").exists())


def test_only_the_last_worker_of_a_client_puts_back(machine):
    with start() as first, start() as second:
        assert hold(first, machine, mode="MAXN") == ["power mode 15W -> MAXN"]
        assert hold(second, machine, mode="MAXN") == []
        first.end()
        time.sleep(0.3)
        assert log(machine) == ["mode 0"]
    assert wait_until(lambda: log(machine) == ["mode 0", "mode 1"])


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGTERM])
def test_a_worker_that_is_killed_puts_back_all_the_same(machine, ending):
    with start() as worker:
        hold(worker, machine, mode="MAXN")
        os.kill(worker.pid, ending)
        assert wait_until(lambda: log(machine) == ["mode 0", "mode 1"])


def test_after_a_power_cut_the_next_job_puts_back_first(machine):
    with start() as worker:
        hold(worker, machine, mode="MAXN")
        children = [int(p) for p in Path(f"/proc/{worker.pid}/task/{worker.pid}/children").read_text().split()]
        for pid in (*children, worker.pid):  # the guard too
            os.kill(pid, signal.SIGKILL)
    assert log(machine) == ["mode 0"]
    with start() as worker:
        assert hold(worker, machine) == []
        assert log(machine) == ["mode 0", "mode 1"]


def test_what_could_not_be_put_back_is_put_back_by_the_next_job(machine):
    with start() as worker:
        hold(worker, machine, mode="MAXN")
        (machine / "state/no-sudo").touch()
    assert wait_until(lambda: not (machine / "deploy_prune/holder").exists())
    assert (log(machine), (machine / "deploy_prune/power.json").exists()) == (["mode 0"], True)
    (machine / "state/no-sudo").unlink()
    with start() as worker:
        assert hold(worker, machine) == []
        assert log(machine) == ["mode 0", "mode 1"]
    assert not (machine / "deploy_prune/power.json").exists()


def test_the_governor_and_the_lowest_clock_of_every_core(machine):
    for name in ("jetson_clocks",):
        (machine / "bin" / name).unlink()
    with start() as worker:
        assert hold(worker, machine, governor="performance", clocks="locked") == [
            "governor ondemand -> performance", "lowest clock -> highest clock",
        ]  # fmt: skip
        assert read(machine, "scaling_governor") == ["performance"] * 2
        assert read(machine, "scaling_min_freq") == ["2400"] * 2
    assert wait_until(lambda: read(machine, "scaling_governor") == ["ondemand"] * 2)
    assert wait_until(lambda: read(machine, "scaling_min_freq") == ["600"] * 2)


def test_what_cannot_be_set_undoes_what_was(machine):
    (machine / "state/broken").touch()
    with start() as worker:
        with pytest.raises(RefusedError, match="sudo -n jetson_clocks failed: Error: unable to lock") as caught:
            hold(worker, machine, mode="MAXN", clocks="locked")
        assert caught.value.kind == "power"
        assert log(machine) == ["mode 0", "mode 1"] or log(machine) == ["mode 0", "restored", "mode 1"]
        with pytest.raises(RefusedError, match="there is no power mode 30W, only 15W, MAXN"):
            hold(worker, machine, mode="30W")


def test_without_the_right_to_set_it_a_profile_is_refused_in_one_line(machine, make_model, brief):
    (machine / "state/no-sudo").touch()
    wanted = brief.model_copy(update={"power": brief.power.model_copy(update={"mode": "MAXN", "set": True})})
    message = (
        "the power of this machine cannot be set: sudo -n nvpmodel -m 0 failed: sudo: a password is required; "
        "allow it in /etc/sudoers.d, set it yourself, or leave 'set' out of the profile's power"
    )
    with pytest.raises(InputError) as caught:
        Runner(make_model(), wanted)
    assert str(caught.value) == message
    assert not (machine / "deploy_prune/power.json").exists()  # nothing was changed, so nothing is to be put back


def test_a_local_measurement_sets_and_puts_back_too(machine, make_model, brief):
    wanted = brief.model_copy(update={"power": brief.power.model_copy(update={"mode": "MAXN", "set": True})})
    with Runner(make_model(), wanted) as runner:
        assert len(runner.run(3, 1.0)) == 3
        assert runner.conditions().power_mode == "MAXN"
    assert wait_until(lambda: log(machine) == ["mode 0", "mode 1"])
