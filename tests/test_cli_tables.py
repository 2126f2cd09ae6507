"""``deploy-prune tables`` as a person meets it, on a file of measurements of a real network."""

import csv
import io
import json

import pytest
from store.make import key, rows
from test_cli import assert_refused, deploy_prune

from deploy_prune.hardware.machine import detect_machine
from deploy_prune.store import MeasurementStore

HERE = detect_machine().fingerprint
CONDITIONS = "threads 1, fp32, batch 1"


@pytest.fixture
def store(tmp_path):
    """Two models here, the layers of one at widths 16 and 32, and one elsewhere."""
    path = tmp_path / "measurements.sqlite"
    store = MeasurementStore(path)
    store.put(key("1", machine=HERE), {}, "resnet18 1a", rows(3))
    store.put(key("2", machine=HERE), {}, "resnet18 1a", rows(2, width=32))
    store.put(key("2", machine=HERE, kind="comparison"), {}, "resnet18 1a")
    store.put(key("3", machine=HERE), {}, "resnet34 2b", rows(3))
    store.put(key("1", machine="elsewhere", engine="openvino 2026.0"), {}, "resnet18 1a", rows(2))
    return path


def test_show_lists_places_and_models(store):
    done = deploy_prune("tables", "show", "--store", store, COLUMNS="200")
    assert done.returncode == 0, done.stderr
    assert f"{HERE} (here), onnxruntime 1.32.0, {CONDITIONS}" in done.stdout
    assert "elsewhere, openvino 2026.0" in done.stdout
    assert "1 comparison, 2 variants" in done.stdout and "resnet34 2b" in done.stdout
    found = json.loads(deploy_prune("tables", "show", "--store", store, "--model", "resnet34", "--json").stdout)
    assert [(one["model"], one["layers"], one["engine"]) for one in found] == [("resnet34 2b", 3, "onnxruntime 1.32.0")]


def test_show_layers_has_the_staircase_over_all_models(store):
    done = deploy_prune("tables", "show", "--store", store, "--engine", "onnx", "--layer", "conv 3x3", "--csv")
    steps = list(csv.DictReader(io.StringIO(done.stdout)))
    assert {step["layer"] for step in steps} == {"Conv 3x3 +Relu, 1×c_in×20×20 → 1×c_out×20×20"}
    assert [(s["c_in"], s["c_out"], float(s["median_ms"]), s["count"], s["models"]) for s in steps] == [
        ("16", "16", 0.1, "2", "2"),
        ("16", "32", 0.2, "2", "2"),
        ("32", "32", 0.1, "1", "1"),
    ]
    printed = deploy_prune("tables", "show", "--store", store, "--layers", COLUMNS="150").stdout
    assert "Relu, 1×c_in×20×20 → 1×c_out×20×20" in printed and "0.2000 ms" in printed


def test_export_and_merge(store, tmp_path):
    file, other = tmp_path / "out.jsonl", tmp_path / "other.sqlite"
    done = deploy_prune("tables", "export", file, "--store", store, "--device", HERE)
    assert done.stdout == f"{file}: 4 measurements\n"
    done = deploy_prune("tables", "merge", file, store, "--store", other)
    assert done.stdout == f"{other}: 5 measurements taken, 4 already here as new or newer\n"
    file.write_text(file.read_text()[:-9])
    done = deploy_prune("tables", "merge", file, "--store", tmp_path / "third.sqlite")
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1 and f"{file} is damaged" in done.stderr
    assert len(list(MeasurementStore(tmp_path / "third.sqlite").measurements())) == 0


def test_prune_says_first_and_removes_with_yes(store):
    options = ("--store", store, "--engine", "onnxruntime 1.32", "--model", "resnet18")
    done = deploy_prune("tables", "prune", *options)
    assert "1 comparison, 2 variants" in done.stdout
    assert done.stdout.endswith("nothing removed yet; the same with --yes removes these\n")
    assert len(list(MeasurementStore(store).measurements())) == 5
    assert deploy_prune("tables", "prune", *options, "--yes").stdout.endswith("3 measurements removed\n")
    assert [one.source for one in MeasurementStore(store).measurements()] == ["resnet34 2b", "resnet18 1a"]
    assert deploy_prune("tables", "prune", "--store", store, "--older-than", "1").stdout == "nothing to remove\n"


def test_mistakes_are_one_line(store, tmp_path):
    assert_refused(
        deploy_prune("tables", "prune", "--store", store, "--yes"),
        "say what to remove: --older-than, --device, --engine or --model",
    )
    assert_refused(
        deploy_prune("tables", "show", "--store", tmp_path / "no.sqlite"),
        f"there is no file of measurements {tmp_path / 'no.sqlite'}; name another, or measure first",
    )
    assert_refused(
        deploy_prune("tables", "show", "--store", store, "--json", "--csv"), "got --json and --csv; give one of them"
    )
