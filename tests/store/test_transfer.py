"""From one file of measurements into another."""

import dataclasses
import json
import sqlite3

import pytest
from store.make import key, rows

from deploy_prune.errors import InputError
from deploy_prune.store import MeasurementStore, Selection
from deploy_prune.store.transfer import export, merge


@pytest.fixture
def full(tmp_path):
    store = MeasurementStore(tmp_path / "full.sqlite")
    store.put(key(), {"total_s": 1.5}, "small 1a", rows(3))
    store.put(key("2"), {"total_s": 0.1 + 0.2}, "large 2b", rows(2))
    return store


@pytest.fixture
def target(tmp_path):
    return MeasurementStore(tmp_path / "target.sqlite")


@pytest.mark.parametrize("suffix", [".jsonl", ".sqlite"])
def test_a_file_carries_everything(tmp_path, full, target, suffix):
    file = tmp_path / f"out{suffix}"
    assert export(full, file) == 2
    assert merge(target, [file]) == (2, 0)
    assert list(target.measurements()) == list(full.measurements())
    assert merge(target, [file, full.path]) == (0, 4)
    left = {path.name for path in tmp_path.iterdir()}
    assert not [name for name in left if name.startswith((".", "out")) and name != file.name]


def test_a_selection_is_exported(tmp_path, full, target):
    assert export(full, tmp_path / "out.jsonl", Selection(model="small")) == 1
    merge(target, [tmp_path / "out.jsonl"])
    assert [one.source for one in target.measurements()] == ["small 1a"]
    with pytest.raises(InputError, match="has no such measurements"):
        export(full, tmp_path / "none.sqlite", Selection(model="huge"))
    assert not (tmp_path / "none.sqlite").exists()


def test_the_newer_stays_whichever_way(full, target):
    (old,) = [one for one in full.measurements() if one.source == "small 1a"]
    newer = dataclasses.replace(old, content={"total_s": 9}, measured_at="2999-01-01T00:00:00+00:00", layers=rows(1))
    assert target.merge([newer, old]) == (1, 1)
    assert target.get(key()) == {"total_s": 9}
    assert full.merge([newer]) == (1, 0)
    assert [one.layers for one in full.measurements(Selection(model="small"))] == [rows(1)]


def damage(name):
    def cut(text):
        return text[:-30]

    def lose_a_line(text):
        return "".join(text.splitlines(keepends=True)[:-1])

    def change_a_type(text):
        return text.replace('"c_in":16', '"c_in":"wide"', 1)

    def be_newer(text):
        return text.replace('"version":2', '"version":99', 1)

    return {"cut": cut, "lose a line": lose_a_line, "change a type": change_a_type, "be newer": be_newer}[name]


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("cut", r"out\.jsonl is damaged \(line 3: Invalid JSON"),
        ("lose a line", "is damaged: it has 1 of 2 measurements; take another copy of it"),
        ("change a type", r"is damaged \(line 2, layers\.0\.c_in: Input should be a valid integer"),
        ("be newer", r"was written by another version \(tables 99, expected 2\)"),
    ],
)
def test_a_damaged_export_is_refused_and_nothing_changes(tmp_path, full, target, how, message):
    file = tmp_path / "out.jsonl"
    export(full, file)
    file.write_text(damage(how)(file.read_text()))
    good = tmp_path / "good.jsonl"
    export(full, good)
    with pytest.raises(InputError, match=message) as refused:
        merge(target, [good, file])
    assert "\n" not in str(refused.value)
    assert len(list(target.measurements())) == 0


@pytest.mark.parametrize("content", [b"", b"a,b\n1,2\n", b"\xff\xfe\x00", b"[1]\n", json.dumps({"a": 1}).encode()])
def test_another_file_is_refused(tmp_path, target, content):
    (tmp_path / "x.jsonl").write_bytes(content)
    with pytest.raises(InputError, match=r"x\.jsonl (is no export of measurements|cannot be read)"):
        merge(target, [tmp_path / "x.jsonl"])


def test_a_file_that_is_missing_or_of_something_else_is_refused(tmp_path, target):
    with pytest.raises(InputError, match="there is no file of measurements"):
        merge(target, [tmp_path / "no.jsonl"])
    with sqlite3.connect(tmp_path / "photos.sqlite") as connection:
        connection.execute("CREATE TABLE photos (name TEXT)")
    with pytest.raises(InputError, match="is no file of measurements"):
        merge(target, [tmp_path / "photos.sqlite"])


def test_where_an_export_cannot_go(tmp_path, full):
    for path, message in (
        (tmp_path / "out.csv", r"has no format; give it the suffix \.jsonl or \.sqlite"),
        (full.path, "is the file of measurements itself"),
        (tmp_path / "no" / "out.jsonl", "cannot write .*: No such file or directory"),
    ):
        with pytest.raises(InputError, match=message):
            export(full, path)
    in_use = MeasurementStore(tmp_path / "in_use.sqlite")
    reader = sqlite3.connect(in_use.path)
    reader.execute("SELECT count(*) FROM measurements").fetchone()
    in_use.put(key(), {}, "net")
    with pytest.raises(InputError, match="is a file of measurements in use"):
        export(full, in_use.path)
    reader.close()
