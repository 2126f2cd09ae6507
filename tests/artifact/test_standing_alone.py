"""The code of an artifact needs Python 3.8, the engine, NumPy and Pillow, and nothing else."""

import ast
import importlib.metadata
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from artifact.made import make_artifact, run_python

import deploy_prune.artifact
from deploy_prune.datasets import write_digits
from deploy_prune.pipeline.artifact import copy_inference
from deploy_prune.tasks.classification import ClassificationTask

HOME = Path(deploy_prune.artifact.__file__).parent
SOURCES = [HOME / "infer.py", *sorted((HOME / "inference").glob("*.py"))]
ALLOWED = {"numpy", "PIL", "onnxruntime", "openvino", "deploy_prune.artifact.inference"}
NEWER = re.compile(r"\.(removeprefix|removesuffix|is_relative_to|readlink|hardlink_to)\(|\bstrict=|functools\.cache\b")
PYTHON_38 = next(iter(sorted(Path.home().glob(".pyenv/versions/3.8.*/bin/python"))), None)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_the_source_is_python_3_8_and_imports_nothing_else(path):
    text = path.read_text()
    tree = ast.parse(text, feature_version=(3, 8))
    assert not NEWER.search(text)
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module] if isinstance(node, ast.ImportFrom) else []
        for name in names:
            package = name.partition(".")[0]
            own = name.rpartition(".")[0] if package == "deploy_prune" else package
            assert own in ALLOWED or package in sys.stdlib_module_names, f"{path.name} imports {name}"
    if any(isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name != "RefusalError" for node in tree.body):
        assert "from __future__ import annotations" in text  # list[str] is no expression on Python 3.8


@pytest.mark.skipif(PYTHON_38 is None, reason="no Python 3.8 under ~/.pyenv/versions")
def test_a_real_python_3_8_compiles_it(tmp_path):
    copy_inference(tmp_path)
    files = sorted(tmp_path.rglob("*.py"))
    subprocess.run([PYTHON_38, "-m", "py_compile", *files], check=True, capture_output=True)


def distributions(*names):
    """The installed distributions of these names with all that they require."""
    found, waiting = {}, list(names)
    while waiting:
        name = waiting.pop().lower().replace("_", "-")
        if name in found:
            continue
        found[name] = importlib.metadata.distribution(name)
        needed = [one for one in found[name].requires or () if "extra ==" not in one]
        waiting += [re.match(r"[A-Za-z0-9._-]+", one)[0] for one in needed]
    return found


def make_environment(folder, *names):
    """The Python of a virtual environment with these and what they need: links to what is installed here."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    (packages,) = folder.glob("lib/python3*/site-packages")
    for one in distributions(*names).values():
        for top in {file.parts[0] for file in one.files or () if file.parts[0] not in ("..", "__pycache__")}:
            if not (packages / top).exists():
                (packages / top).symlink_to(one.locate_file(top))
    return folder / "bin" / "python"


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone")
    data = write_digits("digits", folder / "data", train=10, val=10, image_size=32)
    return make_artifact(ClassificationTask(data, "torchvision/mobilenet_v3_small", image_size=32), folder)


def run_alone(python, *arguments):
    """Run in a process that neither this repository nor any variable of Python's leads back to."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    command = [str(python), *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env=environment, cwd=Path(python).parent
    )


def test_infer_runs_where_nothing_else_is_installed(artifact, tmp_path):
    python = make_environment(tmp_path / "bare", "onnxruntime", "numpy", "pillow")
    for package in ("torch", "deploy_prune", "onnx", "pydantic", "cv2"):
        assert "ModuleNotFoundError" in run_alone(python, "-c", f"import {package}").stderr
    checked = run_alone(python, artifact / "infer.py", "--check")
    assert checked.returncode == 0, checked.stderr + checked.stdout
    assert run_alone(python, artifact / "infer.py", artifact / "samples" / "00.png").stdout.startswith('{"picture": ')


def test_a_missing_engine_is_named(artifact, tmp_path):
    python = make_environment(tmp_path / "without", "numpy", "pillow")
    checked = run_alone(python, artifact / "infer.py", "--check")
    assert checked.returncode == 2
    assert checked.stdout == "not run: model.onnx is for onnxruntime, which is not installed\n"
    assert checked.stderr == "error: no model could be run: install what the first one is for\n"
    asked = run_alone(python, artifact / "infer.py", artifact / "samples" / "00.png")
    assert asked.returncode == 2
    assert asked.stderr == "error: model.onnx is for onnxruntime, which is not installed\n"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ((), 2, "name pictures, or give --check"),
        (("--check", "a.jpg"), 2, "name pictures, or give --check"),
        (("a.jpg",), 2, "manifest.json cannot be read"),
    ],
)
def test_mistakes_are_one_clear_line(arguments, code, message, tmp_path):
    copy_inference(tmp_path)
    done = run_python(tmp_path / "infer.py", *arguments)
    assert done.returncode == code and message in done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"schema_version": 9}', "is not of schema 1; take the whole folder from one run"),
        ("[]", "is not of schema 1"),
        ("{", "cannot be read"),
        ('{"schema_version": 1, "models": []}', "lacks classes, metric, postprocessing, preprocessing, samples; take"),
    ],
)
def test_another_manifest_is_refused(content, message, tmp_path):
    copy_inference(tmp_path)
    (tmp_path / "manifest.json").write_text(content)
    done = run_python(tmp_path / "infer.py", "--check")
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1 and message in done.stderr
