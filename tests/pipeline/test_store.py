"""The run store and the runner: real processes, really killed."""

import subprocess
import sys
from pathlib import Path

import pytest

from deploy_prune.errors import InputError
from deploy_prune.pipeline.runner import format_duration
from deploy_prune.pipeline.store import Record, RunStore, stage_key

SCRIPT = Path(__file__).with_name("tiny_run.py")


def run(folder, factor=1, *kill):
    return subprocess.run(
        [sys.executable, str(SCRIPT), str(folder), str(factor), *(("kill", *kill) if kill else ())],
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def outputs(folder):
    """Every output file but the stages' own records (which hold durations)."""
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in sorted(folder.rglob("*.txt"))
        if "work" not in path.relative_to(folder).parts
    }


def test_a_run_writes_every_stage_and_says_one_line_each(tmp_path):
    done = run(tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert [line.split("(")[0].split() for line in done.stdout.splitlines()] == [
        ["numbers", "3", "numbers"], ["count", "10", "steps"], ["sum", "sum", "16"],
    ]  # fmt: skip
    assert outputs(tmp_path / "run") == {
        "count/count.txt": "x" * 10, "numbers/numbers.txt": "1 2 3", "sum/sum.txt": "16",
    }  # fmt: skip
    assert not list((tmp_path / "run" / "work").iterdir())


def test_unchanged_stages_are_skipped_and_a_changed_fact_redoes_what_reads_it(tmp_path):
    run(tmp_path / "run")
    again = run(tmp_path / "run").stdout.splitlines()
    assert all("(unchanged, skipped)" in line for line in again)
    changed = run(tmp_path / "run", 2).stdout.splitlines()
    assert ["skipped" in line for line in changed] == [True, True, False]
    assert outputs(tmp_path / "run")["sum/sum.txt"] == "32"


@pytest.mark.parametrize("stage", ["numbers", "count", "sum"])
@pytest.mark.parametrize("moment", ["inside", "before", "after"])
def test_a_killed_run_continues_and_ends_the_same(tmp_path, stage, moment):
    killed = run(tmp_path / "killed", 1, stage, moment)
    assert killed.returncode == -9
    finished = run(tmp_path / "killed")
    assert finished.returncode == 0, finished.stderr
    run(tmp_path / "whole" / "run")
    assert outputs(tmp_path / "killed") == outputs(tmp_path / "whole" / "run")
    assert (tmp_path / "log.txt").read_text() == "0 1 2 3 4 5 6 7 8 9 "  # no step of the slow stage twice


def test_a_killed_redo_leaves_no_output_of_the_old_facts(tmp_path):
    run(tmp_path / "run")
    run(tmp_path / "run", 2, "sum", "inside")
    assert "sum/sum.txt" not in outputs(tmp_path / "run")


def test_a_second_run_in_one_folder_is_refused_while_the_first_lives(tmp_path):
    first = subprocess.Popen(
        [sys.executable, str(SCRIPT), str(tmp_path / "run"), "1", "kill", "numbers", "wait"],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert first.stdout.readline() == "waiting\n"
        second = run(tmp_path / "run")
        assert second.returncode == 1
        assert (
            f"another run (process {first.pid}) is working in {tmp_path / 'run'}; "
            "wait until it ends or choose another folder with --out" in second.stderr
        )
    finally:
        first.kill()
        first.wait()
    assert run(tmp_path / "run").returncode == 0  # the dead process's lock is free


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"output folder .*file/run cannot be written: Not a directory; choose"):
        RunStore(tmp_path / "file" / "run")


def test_a_folder_with_somebodys_files_is_left_alone(tmp_path):
    (tmp_path / "data").mkdir()
    with pytest.raises(InputError, match="holds files that no run wrote; choose an empty or new one"):
        RunStore(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_a_damaged_record_counts_as_not_done(tmp_path):
    store = RunStore(tmp_path)
    key = stage_key({"a": 1})
    store.commit(store.open_draft("data", key), Record("data", key, "1 image", 0.1))
    assert store.find("data", key) == Record("data", key, "1 image", 0.1)
    assert store.find("data", stage_key({"a": 2})) is None
    (store.output("data") / "stage.json").write_text('{"stage": "data"')
    assert store.find("data", key) is None


def test_keys_follow_values_not_order():
    assert stage_key({"a": 1, "b": 2}) == stage_key({"b": 2, "a": 1}) != stage_key({"a": 1, "b": 3})


@pytest.mark.parametrize(("seconds", "text"), [(3.21, "3.2 s"), (59.9, "59.9 s"), (245, "4 min 05 s")])
def test_durations_read_well(seconds, text):
    assert format_duration(seconds) == text


def test_a_finished_stage_is_taken_over_by_another_run(tmp_path):
    first, second = (RunStore(tmp_path / name) for name in ("first", "second"))
    for text, key in (("old", "k1"), ("new", "k2")):
        draft = first.open_draft("train", key)
        (draft.out / "net.txt").write_text(text)
        first.commit(draft, Record("train", key, "trained", 1.0))
        second.adopt("train", key, first)
        assert second.find("train", key) == Record("train", key, "trained", 1.0)
        ours, theirs = (store.output("train") / "net.txt" for store in (second, first))
        assert ours.read_text() == text and ours.stat().st_ino == theirs.stat().st_ino
    first.discard("train")
    assert (second.output("train") / "net.txt").read_text() == "new"
