"""The artifact folder of a real tiny run: it checks itself, and each damage is one clear line."""

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from pipeline.small_recipe import PROFILE, RECIPE

pytestmark = pytest.mark.slow


def run_python(*arguments):
    return subprocess.run([sys.executable, *map(str, arguments)], capture_output=True, text=True, check=False)


def verify(folder):
    return run_python("-m", "deploy_prune", "verify", folder)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("artifact")
    (folder / "quick.yaml").write_text(yaml.safe_dump(PROFILE))
    recipe = {name: value for name, value in RECIPE.items() if name not in ("sparse", "schedule")}
    recipe |= {"profile": str(folder / "quick.yaml"), "budget": {"speedup": 1.2}}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    done = run_python("-m", "deploy_prune", "run", folder / "recipe.yaml", "--out", folder / "run")
    assert done.returncode in (0, 1), done.stderr  # 1: a busy machine missed the budget
    return folder / "run" / "artifact"


@pytest.fixture
def artifact(written, tmp_path):
    return Path(shutil.copytree(written, tmp_path / "artifact"))


def change_manifest(folder, **changes):
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_the_folder_is_in_order_and_its_code_reproduces_the_outputs(artifact):
    assert verify(artifact).returncode == 0
    done = run_python("-I", artifact / "infer.py", "--check")
    assert (done.returncode, done.stdout) == (0, "the outputs on the samples are those expected\n")


def test_infer_prints_the_class_of_the_largest_expected_output(artifact):
    manifest = json.loads((artifact / "manifest.json").read_text())
    sample = manifest["samples"][0]
    done = run_python("-I", artifact / "infer.py", artifact / sample["file"])
    best = sample["output"].index(max(sample["output"]))
    assert json.loads(done.stdout)["class"] == manifest["classes"][best]


def test_a_damaged_file_is_named(artifact):
    model = artifact / "model.onnx"
    model.write_bytes(model.read_bytes()[:-1])
    done = verify(artifact)
    assert done.returncode == 1 and "fault: model.onnx was changed" in done.stderr


def test_a_missing_file_is_named(artifact):
    (artifact / "README.md").unlink()
    assert "fault: README.md is missing" in verify(artifact).stderr


def test_an_expected_output_that_was_changed_is_seen(artifact):
    samples = json.loads((artifact / "manifest.json").read_text())["samples"]
    samples[0]["output"][0] += 10
    change_manifest(artifact, samples=samples)
    done = verify(artifact)
    assert done.returncode == 1 and f"fault: {samples[0]['file']}: output differs" in done.stderr


def test_a_file_that_does_not_run_is_one_line(artifact):
    (artifact / "model.onnx").write_bytes(b"no model")
    files = json.loads((artifact / "manifest.json").read_text())["files"]
    change_manifest(artifact, files=files | {"model.onnx": hashlib.sha256(b"no model").hexdigest()})
    done = verify(artifact)
    assert done.returncode == 1 and "fault: model.onnx does not run" in done.stderr


@pytest.mark.parametrize(("changes", "message"), [({"schema": 2}, "has schema 2, expected 1")])
def test_another_schema_is_refused(artifact, changes, message):
    change_manifest(artifact, **changes)
    done = verify(artifact)
    assert done.returncode == 2 and message in done.stderr


def test_a_folder_without_manifest_is_refused(tmp_path):
    done = verify(tmp_path)
    assert done.returncode == 2 and "error: no " in done.stderr
