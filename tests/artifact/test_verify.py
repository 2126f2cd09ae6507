"""Artifacts check themselves, and each damage is one clear line; the artifacts are real, their networks untrained."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from artifact.made import make_artifact, run_python, verify

from deploy_prune.artifact.manifest import read_manifest
from deploy_prune.artifact.verify import find_faults
from deploy_prune.datasets import write_digits
from deploy_prune.errors import InputError
from deploy_prune.tasks.classification import ClassificationTask


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("artifact")
    data = write_digits("digits", folder / "data", train=10, val=10, image_size=32)
    return make_artifact(ClassificationTask(data, "torchvision/mobilenet_v3_small", image_size=32), folder)


@pytest.fixture
def artifact(written, tmp_path):
    return Path(shutil.copytree(written, tmp_path / "artifact"))


def read(folder):
    return json.loads((folder / "manifest.json").read_text())


def write(folder, manifest):
    """Write a manifest with its own checksum, as whoever changes it on purpose would."""
    text = json.dumps(manifest)
    (folder / "manifest.json").write_text(text)
    (folder / "manifest.json.sha256").write_text(f"{hashlib.sha256(text.encode()).hexdigest()}  manifest.json\n")


def change_file(folder, name, content):
    """Write a file and its checksum in the manifest."""
    (folder / name).write_bytes(content)
    manifest = read(folder)
    manifest["files"][name] = hashlib.sha256(content).hexdigest()
    write(folder, manifest)


def test_a_sound_artifact_passes_and_its_own_code_reproduces_the_outputs(artifact):
    done = verify(artifact)
    assert (done.returncode, done.stderr) == (0, "")
    own = run_python(artifact / "infer.py", "--check")
    assert own.returncode == 0, own.stderr
    assert own.stdout.startswith("model.onnx: 8 samples give the expected outputs, top-1 accuracy 0.")
    assert find_faults(artifact) == []  # what Python left behind is no fault


def test_infer_prints_a_line_of_json_per_picture(artifact):
    pictures = [artifact / sample["file"] for sample in read(artifact)["samples"][:2]]
    lines = [json.loads(line) for line in run_python(artifact / "infer.py", *pictures).stdout.splitlines()]
    assert [line["picture"] for line in lines] == list(map(str, pictures))
    for line in lines:
        assert line["class"] == line["top"][0]["class"] and line["class"] in read(artifact)["classes"]
        assert 0 < line["score"] == max(one["score"] for one in line["top"]) <= 1


def test_a_damaged_a_missing_and_a_foreign_file_are_named(artifact):
    (artifact / "model.onnx").write_bytes((artifact / "model.onnx").read_bytes()[:-1])
    (artifact / "README.md").unlink()
    (artifact / "numpy.py").write_text("")  # Python would import it
    done = verify(artifact)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "fault: README.md is missing",
        "fault: model.onnx was changed: its SHA-256 is not that of the manifest",
        "fault: numpy.py is not in the manifest; take it away",
    ]


def test_a_changed_manifest_is_seen(artifact):
    path = artifact / "manifest.json"
    path.write_text(path.read_text().replace('"met": true', '"met": false'))
    assert find_faults(artifact) == ["manifest.json was changed: see manifest.json.sha256"]
    (artifact / "manifest.json.sha256").unlink()
    assert find_faults(artifact) == ["manifest.json.sha256 is missing or unreadable"]


def test_a_link_that_leads_out_of_the_folder_is_seen(artifact, tmp_path):
    shutil.move(artifact / "plan.json", tmp_path / "plan.json")
    (artifact / "plan.json").symlink_to(tmp_path / "plan.json")
    assert find_faults(artifact) == ["plan.json leads out of the folder; expected a file of the artifact"]


def test_other_outputs_than_expected_are_seen(artifact):
    with np.load(artifact / "expected" / "model.onnx.npz") as content:
        expected = {name: content[name] for name in content.files}
    expected["3_0"][0, 5] += 0.01 * expected["3_0"][1, 5]  # a hundredth of its size
    np.savez(artifact / "changed.npz", **expected)
    content = (artifact / "changed.npz").read_bytes()
    (artifact / "changed.npz").unlink()
    change_file(artifact, "expected/model.onnx.npz", content)
    (fault,) = find_faults(artifact)
    assert fault.startswith("model.onnx on samples/03.png: output ") and fault.endswith(
        "is off by 1.0e-02 of its size, allowed 1e-03"
    )
    assert run_python(artifact / "infer.py", "--check").stdout == f"fault: {fault}\n"


def test_another_score_than_expected_is_seen(artifact):
    manifest = read(artifact)
    score = manifest["models"][0]["score"]
    manifest["models"][0]["score"] = score + 0.125
    write(artifact, manifest)
    wanted = f"model.onnx: top-1 accuracy on the samples is {score:.4f}, expected {score + 0.125:.4f}"
    assert find_faults(artifact) == [wanted]


def test_a_file_that_the_engine_cannot_open_is_one_line(artifact):
    change_file(artifact, "model.onnx", b"no model")
    done = verify(artifact)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("fault: model.onnx cannot be opened: ")


def test_an_expected_file_that_is_none_is_one_line(artifact):
    change_file(artifact, "expected/model.onnx.npz", b"no arrays")
    (fault,) = find_faults(artifact)
    assert fault.startswith("expected/model.onnx.npz cannot be read: ")


LEFT_OUT = "not run: model.engine is for tensorrt, which this code does not run"


def test_a_model_of_another_engine_is_left_to_its_owner(artifact):
    manifest = read(artifact)
    engine = {**manifest["models"][0], "file": "model.engine", "engine": "tensorrt", "precision": "fp16"}
    (artifact / "model.engine").write_bytes(b"plan")
    manifest["files"]["model.engine"] = hashlib.sha256(b"plan").hexdigest()
    manifest["models"].append({**engine, "expected": None})
    write(artifact, manifest)
    done = verify(artifact)
    assert done.returncode == 0
    assert done.stdout.splitlines()[0] == LEFT_OUT + "; only its checksum is right"
    assert run_python(artifact / "infer.py", "--check").stdout.splitlines()[0] == LEFT_OUT
    own = run_python(artifact / "infer.py", "--check", "--model", "model.engine")
    assert own.returncode == 1 and own.stdout == "fault: model.engine is for tensorrt, which this code does not run\n"
    none = run_python(artifact / "infer.py", "--check", "--model", "other.onnx")
    assert none.returncode == 2
    assert none.stderr == "error: the manifest has no model 'other.onnx'; choose one of: model.onnx, model.engine\n"


def without(*keys):
    def change(manifest):
        for key in keys[:-1]:
            manifest = manifest[key]
        del manifest[keys[-1]]

    return change


def put(value, *keys):
    def change(manifest):
        for key in keys[:-1]:
            manifest = manifest[key]
        manifest[keys[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("classes"), "classes: this key is required and missing"),
        (without("budget", "met"), "budget.met: this key is required and missing"),
        (put(1, "clases"), "clases: unknown key, did you mean 'classes'?"),
        (put(1, "preprocessing", "sice"), "preprocessing.sice: unknown key, did you mean 'size'?"),
        (put(1, "samples", 0, "label", "clas_number"), "label.clas_number: unknown key, did you mean 'class_number'?"),
        (put("32", "preprocessing", "size"), "preprocessing.size: expected a whole number, got '32'"),
        (put([1, 2], "preprocessing", "shape"), "preprocessing: give 'shape' for kind array, and 'size' for pictures"),
        (put([], "models"), "models: "),
        (put(2, "schema_version"), "has schema_version 2, expected 1; use the version of deploy_prune that wrote it"),
        (without("schema_version"), "has schema_version None, expected 1"),
        (put("../plan.json", "plan"), "plan: '../plan.json' is outside the folder; expected a path below it"),
        (put("/etc/passwd", "plan"), "plan: '/etc/passwd' is outside the folder"),
        (put("other.json", "plan"), "has no checksum of other.json; take the folder from the run again"),
    ],
)
def test_a_wrong_manifest_is_one_clear_line(artifact, change, message):
    manifest = read(artifact)
    change(manifest)
    write(artifact, manifest)
    with pytest.raises(InputError) as caught:
        read_manifest(artifact)
    assert message in str(caught.value) and len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "manifest.json cannot be read: No such file or directory; expected the artifact folder of a run"),
        (b"{", "is no manifest (Invalid JSON"),
        (b"[]", "is no manifest (Input should be an object)"),
        (b"\xff", "is no manifest (Invalid JSON"),
    ],
)
def test_what_is_no_artifact_ends_with_2(content, message, tmp_path):
    if content is not None:
        (tmp_path / "manifest.json").write_bytes(content)
    done = verify(tmp_path)
    assert done.returncode == 2 and message in done.stderr and len(done.stderr.splitlines()) == 1


def test_the_manifest_reads_back_as_it_was_written(artifact):
    assert read_manifest(artifact).to_plain() == read(artifact)
