"""One process and its file of measurements."""

import sqlite3

import pytest
from store.make import CONV, RELU, key, rows

from deploy_prune.errors import InputError
from deploy_prune.store import MeasurementStore, Selection
from deploy_prune.store.record import pack_samples, unpack_samples


@pytest.fixture
def store(tmp_path):
    return MeasurementStore(tmp_path / "measurements.sqlite")


def test_what_is_put_is_got_and_the_last_one_stays(store):
    store.put(key(), {"total_s": 1.5}, "net")
    store.put(key("net 2"), {"total_s": 3}, "net")
    store.put(key(), {"total_s": 2.5}, "net")
    assert store.get(key()) == {"total_s": 2.5}
    assert store.get(key("net 3")) is None


def test_layers_of_a_kind_are_found_on_their_device_and_engine_only(store):
    store.put(key(), {}, "small 1a", rows(3))
    store.put(key("other"), {}, "large 2b", rows(2, width=32))
    store.put(key(machine="xyz"), {}, "small 1a", rows(2))
    store.put(key(engine="openvino 2026.0"), {}, "small 1a", rows(2))
    place = key()
    found = store.layers(place.machine, place.engine, place.conditions, [CONV])
    assert [(one.row.c_in, one.row.c_out, one.source) for one in found] == [
        (16, 16, "small 1a"),
        (16, 32, "small 1a"),
        (32, 32, "large 2b"),
    ]
    assert found[0].row == rows(3)[0]
    assert len(store.layers(place.machine, place.engine, place.conditions, [CONV, RELU, "[]"])) == 5


def test_layers_are_replaced_and_removed_with_their_variant(store):
    store.put(key(), {}, "net", rows(5))
    store.put(key(), {}, "net", rows(2))
    place = key()
    assert len(store.layers(place.machine, place.engine, place.conditions, [CONV, RELU])) == 2
    assert store.remove(Selection(model="NET")) == 1
    assert sqlite3.connect(store.path).execute("SELECT count(*) FROM layers").fetchone() == (0,)


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        (Selection(), 3),
        (Selection(machine="ab"), 2),
        (Selection(engine="onnxruntime"), 2),
        (Selection(engine="onnxruntime 1.31"), 0),
        (Selection(model="LARGE"), 1),
        (Selection(conditions='"threads": 1'), 3),
        (Selection(conditions='"threads": 2'), 0),
        (Selection(before="2000-01-01T00:00:00+00:00"), 0),
        (Selection(before="2999-01-01T00:00:00+00:00"), 3),
        (Selection(machine="ab", engine="openvino"), 1),
        (Selection(model="100%"), 0),
    ],
)
def test_selections(store, selection, expected):
    store.put(key(), {}, "small 1a")
    store.put(key(engine="openvino 2026.0"), {}, "small 1a")
    store.put(key("b", machine="xyz"), {}, "large 2b")
    assert len(list(store.measurements(selection))) == expected
    assert store.remove(selection) == expected
    assert len(list(store.measurements())) == 3 - expected


def test_removing_makes_the_file_smaller(store):
    for n in range(50):
        store.put(key(str(n)), {"text": "x" * 10_000}, "net")

    def size():
        sqlite3.connect(store.path).execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return store.path.stat().st_size

    before = size()
    store.remove(Selection(model="net"))
    assert size() < before / 4


def test_samples_are_packed_to_the_nanosecond_and_small():
    samples = (*range(40_000, 140_000, 1000), 2**40)
    assert unpack_samples(pack_samples(samples)) == samples
    assert len(pack_samples(samples)) < 400
    with pytest.raises(InputError, match="damaged"):
        unpack_samples(b"no")


def test_a_file_that_is_no_database_stays_as_it_is(tmp_path):
    path = tmp_path / "notes.sqlite"
    path.write_text("not a database, but somebody's notes")
    for existing in (False, True):
        with pytest.raises(InputError, match=r"cannot be used as a file of measurements \(file is not a database\)"):
            MeasurementStore(path, existing=existing)
    assert path.read_text() == "not a database, but somebody's notes"


def test_a_database_of_something_else_stays_as_it_is(tmp_path):
    path = tmp_path / "photos.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE photos (name TEXT)")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(InputError, match="is a database of something else; choose another file"):
        MeasurementStore(path)
    with pytest.raises(InputError, match="is no file of measurements; name another"):
        MeasurementStore(path, existing=True)
    assert path.read_bytes() == before


def test_a_newer_version_stays_as_it_is(store):
    with sqlite3.connect(store.path) as connection:
        connection.execute("PRAGMA user_version = 99")
    for existing in (False, True):
        with pytest.raises(InputError, match=r"was written by another version \(tables 99, expected 2\)"):
            MeasurementStore(store.path, existing=existing)
    assert sqlite3.connect(store.path).execute("PRAGMA user_version").fetchone() == (99,)


def test_a_missing_file_is_not_made_for_reading(tmp_path):
    with pytest.raises(InputError, match="there is no file of measurements"):
        MeasurementStore(tmp_path / "no.sqlite", existing=True)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_file_is_refused(store):
    for n in range(50):
        store.put(key(str(n)), {"text": "x" * 3000}, "net")
    sqlite3.connect(store.path).execute("PRAGMA wal_checkpoint(TRUNCATE)")
    content = bytearray(store.path.read_bytes())
    content[8192:40_000] = b"\xff" * (40_000 - 8192)
    store.path.write_bytes(content)
    with pytest.raises(InputError, match=r"damaged|malformed"):
        MeasurementStore(store.path, existing=True)
