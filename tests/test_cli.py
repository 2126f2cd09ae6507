"""The command line as a person meets it: one clear line per mistake, exit code 2, no traceback."""

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from deploy_prune.hardware.profile import list_profiles

ROOT = Path(__file__).parents[1]
RECIPE = ROOT / "pipelines" / "yolov8n_digits.yaml"


def deploy_prune(*arguments, cwd=None, before="", **environment):
    """Run the command line in a process of its own; ``before`` is Python that runs first."""
    script = f"{before}\nimport sys; from deploy_prune.cli import main; sys.argv[0] = 'deploy-prune'; main()"
    return subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        capture_output=True, text=True, check=False, cwd=cwd, env={**os.environ, **environment},
    )  # fmt: skip


def assert_refused(done, *lines):
    assert done.stderr.splitlines() == [f"error: {line}" for line in lines]
    assert (done.returncode, done.stdout) == (2, "")


@pytest.fixture
def recipe(tmp_path):
    def write(**changes):
        settings = yaml.safe_load(RECIPE.read_text()) | changes
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump(settings))
        return path

    return write


@pytest.fixture(scope="module")
def onnx_files(tmp_path_factory):
    """A network, and one of half its width."""
    from deploy_prune.export.onnx import export_onnx

    folder = tmp_path_factory.mktemp("onnx")
    inputs = torch.rand(1, 3, 32, 32)
    for name, width in (("wide", 64), ("narrow", 16)):
        layers = [torch.nn.Conv2d(3, width, 3), torch.nn.ReLU(), torch.nn.Conv2d(width, width, 3)]
        export_onnx(torch.nn.Sequential(*layers), inputs, folder / f"{name}.onnx")
    return folder


@pytest.fixture
def quick_profile(tmp_path):
    limits = {"warm_up_runs": 1, "warm_up_max_s": 0.2, "min_runs": 10, "min_s": 0, "max_s": 0.5, "pairs": 2}
    settings = {"name": "quick", "engine": "onnxruntime", "measuring": limits}
    path = tmp_path / "quick.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path


def test_version_and_help():
    assert deploy_prune("--version").stdout.startswith("deploy-prune 0.")
    listed = deploy_prune("--help").stdout
    assert all(command in listed for command in ("run", "prune", "bench", "inspect", "profiles", "data"))


def test_python_m_is_the_same_program():
    done = subprocess.run(
        [sys.executable, "-m", "deploy_prune", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == deploy_prune("--version").stdout


def test_a_missing_recipe():
    assert_refused(deploy_prune("run", "no.yaml"), "recipe no.yaml does not exist; expected the path of a YAML file")


def test_an_unknown_key_with_the_nearest_known_one(recipe):
    path = recipe(train={"epoch": 3})
    assert_refused(deploy_prune("run", path), f"{path}: train.epoch: unknown key, did you mean 'epochs'?")


def test_a_wrong_type(recipe):
    path = recipe(train={"epochs": "three"})
    assert_refused(deploy_prune("run", path), f"{path}: train.epochs: expected a whole number, got 'three'")


def test_several_mistakes_are_one_line_each(recipe):
    path = recipe(seed="x", budgett={"speedup": 2})
    assert_refused(
        deploy_prune("run", path),
        f"{path}: seed: expected a whole number, got 'x'",
        f"{path}: budgett: unknown key, did you mean 'budget'?",
    )


def test_both_budgets():
    assert_refused(
        deploy_prune("run", RECIPE, "--speedup", "2", "--latency-ms", "3"),
        f"{RECIPE}: budget: give exactly one of 'speedup' and 'latency_ms' (null takes the other one away)",
    )


def test_a_bad_override():
    assert_refused(
        deploy_prune("run", RECIPE, "train.epochs"),
        "override 'train.epochs': expected key=value, for example train.epochs=3",
    )


def test_an_unknown_profile(tmp_path):
    done = deploy_prune("run", RECIPE, "--profile", "cpu-onnxruntim", "--out", tmp_path / "run")
    assert_refused(
        done,
        "unknown profile 'cpu-onnxruntim' (did you mean 'cpu-onnxruntime'?); "
        f"known: {', '.join(list_profiles())}, or give the path of a .yaml file",
    )
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("package", "purpose", "extra"),
    [
        ("onnxruntime", "measuring", "onnx"),
        ("ultralytics", "YOLO networks", "yolo"),
        ("sklearn", "embedded images", "data"),
        ("matplotlib", "plots", "report"),
    ],
)
def test_a_package_that_is_not_installed_comes_with_its_pip_line(tmp_path, package, purpose, extra):
    done = deploy_prune("run", RECIPE, "--out", tmp_path / "run", before=f"import sys; sys.modules['{package}'] = None")
    assert_refused(
        done,
        f"{package} is not installed, which the run needs for {purpose}; run: pip install 'deploy_prune[{extra}]'",
    )


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    folder = tmp_path / "file" / "run"
    assert_refused(
        deploy_prune("run", RECIPE, "--out", folder),
        f"output folder {folder} cannot be written: Not a directory; choose another with --out",
    )


def test_a_model_that_does_not_exist(tmp_path):
    done = deploy_prune("run", RECIPE, "model=best.pt", "data.train=2", "data.val=1", "--out", tmp_path / "run")
    assert done.stderr.split("\n")[-2:] == ["error: no such file: best.pt; expected a YOLO .pt file", ""]
    assert done.returncode == 2


def test_data_of_ones_own_that_does_not_exist(tmp_path, recipe):
    path = recipe(data={"path": "mine.yaml"})
    done = deploy_prune("run", path, "--out", tmp_path / "run")
    assert done.stderr.splitlines() == [
        "error: no such data file: mine.yaml; expected a YAML file with train, val and names"
    ]


def test_bench_of_a_missing_model(quick_profile):
    assert_refused(
        deploy_prune("bench", "no.onnx", "--profile", quick_profile),
        "model file no.onnx not found; give the path of an exported .onnx file",
    )


@pytest.mark.parametrize("damage", ["truncated", "not ONNX"])
def test_bench_of_a_file_that_is_no_model(tmp_path, onnx_files, quick_profile, damage):
    content = (onnx_files / "wide.onnx").read_bytes()
    path = tmp_path / "model.onnx"
    path.write_bytes(content[: len(content) // 2] if damage == "truncated" else b"\x89PNG, a picture")
    done = deploy_prune("bench", path, "--profile", quick_profile)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: {path} is not a model that onnxruntime can run (")
    assert line.endswith("); export it again")


def test_bench_with_an_unknown_option():
    assert_refused(deploy_prune("bench", "--fast"), "No such option: --fast")


def test_bench_prints_and_writes_a_paired_comparison(tmp_path, onnx_files, quick_profile):
    out = {kind: tmp_path / f"result.{kind}" for kind in ("json", "markdown", "csv")}
    options = [part for kind, path in out.items() for part in (f"--{kind}", path)] + ["--out", tmp_path / "all"]
    models = [onnx_files / "wide.onnx", onnx_files / "narrow.onnx"]
    done = deploy_prune("bench", *models, "--profile", quick_profile, *options, COLUMNS="200")
    assert done.returncode == 0, done.stderr
    assert "1 (baseline)" in done.stdout and "engine onnxruntime" in done.stdout
    (profile,) = json.loads(out["json"].read_text())["profiles"]
    wide, narrow = profile["entries"]
    assert wide["speedup"] is None and wide["latency_ms"]["n"] == len(wide["samples_ms"]) >= 8
    assert narrow["speedup"]["low"] <= narrow["speedup"]["value"] <= narrow["speedup"]["high"]
    rows = list(csv.DictReader(io.StringIO(out["csv"].read_text())))
    assert [row["model"] for row in rows] == [str(model) for model in models]
    assert float(rows[1]["speedup"]) == narrow["speedup"]["value"]
    assert out["markdown"].read_text().count("\n| ") == 3
    for kind, name in (("json", "bench.json"), ("markdown", "bench.md"), ("csv", "bench.csv")):
        assert (tmp_path / "all" / name).read_text() == out[kind].read_text()


def test_bench_under_several_profiles_compares_within_each_only(tmp_path, onnx_files, quick_profile):
    pytest.importorskip("openvino")
    other = tmp_path / "other.yaml"
    settings = yaml.safe_load(quick_profile.read_text()) | {"name": "other", "engine": "openvino"}
    other.write_text(yaml.safe_dump(settings))
    models = [onnx_files / "wide.onnx", onnx_files / "narrow.onnx"]
    options = ["--profile", quick_profile, "--profile", other, "--csv", tmp_path / "b.csv", "--null-test"]
    done = deploy_prune("bench", *models, *options, COLUMNS="200")
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader(io.StringIO((tmp_path / "b.csv").read_text())))
    assert [(row["profile"], row["speedup"] == "") for row in rows] == [
        ("quick", True), ("quick", False), ("other", True), ("other", False)
    ]  # fmt: skip
    assert done.stdout.count("Noise floor: ") == 2
    said = " ".join(done.stdout.split())  # the caption wraps at the table's width, which the models' paths decide
    assert "Times of different profiles were taken under different conditions and make no ratio." in said


def test_bench_refuses_what_cannot_be_compared_before_it_measures(tmp_path, onnx_files, quick_profile):
    from deploy_prune.export.onnx import export_onnx

    small = tmp_path / "small.onnx"
    export_onnx(torch.nn.Conv2d(3, 4, 3), torch.rand(1, 3, 16, 16), small)
    wide = onnx_files / "wide.onnx"
    done = deploy_prune("bench", wide, wide, small, "--profile", quick_profile)
    (line,) = done.stderr.splitlines()
    assert "their conditions differ in inputs (('float32[1, 3, 32, 32]',) and ('float32[1, 3, 16, 16]',))" in line
    assert_refused(
        deploy_prune("bench", wide, "--profile", quick_profile, "--profile", quick_profile),
        "the profile 'quick' is given 2 times; give each once, or name it anew",
    )
    assert_refused(
        deploy_prune("bench", wide, "--profile", "cpu-torch-eager", "--profile", quick_profile),
        "no model for the profile 'cpu-torch-eager': torch reads .pt2 files",
    )
    done = deploy_prune("bench", wide, "--profile", "jetson-thor")
    assert "the profile 'jetson-thor' cannot run here: it is for aarch64" in done.stderr
    assert "no trtexec on PATH" in done.stderr


def test_bench_of_one_model_times_it_alone(onnx_files, quick_profile):
    done = deploy_prune("bench", onnx_files / "narrow.onnx", "--profile", quick_profile, COLUMNS="200")
    assert done.returncode == 0 and "baseline" in done.stdout


def test_a_result_that_cannot_be_written(tmp_path, onnx_files, quick_profile):
    path = tmp_path / "no" / "result.json"
    done = deploy_prune("bench", onnx_files / "narrow.onnx", "--profile", quick_profile, "--json", path)
    assert done.stderr == f"error: cannot write {path}: No such file or directory; choose another file\n"
    assert done.returncode == 2


MODELS = """
from torch import nn

class Fails(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 8, 3)
    def forward(self, x):
        return self.conv(x)

def fails(): return Fails()
def raises(): raise ValueError("no weights")
def returns_text(): return "model"
def two_layers(): return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 2, 1))
"""


@pytest.mark.parametrize(
    ("source", "line"),
    [
        ("two_layers", "cannot load 'two_layers'; expected a .pt file, a YOLO .yaml, torchvision/NAME, timm/NAME, or "
         "module:function such as mymodels:build"),
        ("torchvision/resnt18", "torchvision has no model 'resnt18'; did you mean 'resnet18'?"),
        ("timm/resnt18", "timm has no model 'resnt18'; did you mean 'resnet18'?"),
        ("nowhere:build", "no module named 'nowhere'; give module:function, importable from here"),
        ("models:build", "module models has no function 'build'; give one that returns the model"),
        ("models:returns_text", "models:returns_text returned str; expected a torch.nn.Module"),
        ("models:raises", "models:raises failed without arguments (ValueError: no weights); see --traceback"),
        ("no.pt", "no such file: no.pt; expected a YOLO .pt file"),
        ("yolov99.yaml", "there is no YOLO architecture 'yolov99.yaml'; try 'yolov8n.yaml'"),
    ],
)  # fmt: skip
def test_inspect_of_what_is_no_model(tmp_path, source, line):
    (tmp_path / "models.py").write_text(MODELS)
    assert_refused(deploy_prune("inspect", source, "--image-size", "32", cwd=tmp_path), line)


def test_a_model_whose_forward_fails(tmp_path):
    (tmp_path / "models.py").write_text(MODELS)
    done = deploy_prune("inspect", "models:fails", "--image-size", "32", cwd=tmp_path)
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: the model fails on the example inputs in conv")
    assert line.endswith("give inputs that it runs on")
    assert done.returncode == 2


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ((), "got latency_ms=None and speedup=None; give exactly one of them"),
        (("--budgets", "2", "--speedup", "3"), "got --budgets 2 and --speedup 3; give one of them"),
        (("--budgets", "2,fast"), "budget 'fast': expected a speed-up such as 2 or 2x, or a latency such as 8ms"),
        (("--speedup", "2", "--importance", "l3"), "importance is 'l3'; choose one of l1, l2, taylor, fisher, hessian"),
        (("--speedup", "2", "--importance", "taylor"), "importance taylor needs gradients on real inputs: give "
         "--calibration, or choose l1 or l2"),
        (("--speedup", "2", "--calibration", "none"), "calibration data none not found; expected a folder of pictures, "
         "or a .npy or .npz file"),
        (("--speedup", "2", "--profile", "cpu-torch-eager"), "the profile 'cpu-torch-eager' measures with torch"),
    ],
)  # fmt: skip
def test_prune_refuses_mistakes_before_it_measures(tmp_path, arguments, line):
    (tmp_path / "models.py").write_text(MODELS)
    done = deploy_prune("prune", "models:two_layers", "--image-size", "32", *arguments, "--out", "out", cwd=tmp_path)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith(f"error: {line}") and done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_run_refuses_several_budgets_beside_one():
    assert_refused(
        deploy_prune("run", RECIPE, "--budgets", "2,3", "--latency-ms", "4"),
        "got --budgets 2,3 and --latency-ms 4; give one of them",
    )


def test_inspect_lists_groups_and_reasons(tmp_path):
    (tmp_path / "models.py").write_text(MODELS)
    done = deploy_prune("inspect", "models:two_layers", "--image-size", "32", "--json", cwd=tmp_path)
    found = json.loads(done.stdout)
    assert [(group["name"], group["width"]) for group in found["groups"]] == [("0", 8)]
    assert any("reaches the model's output" in frozen["reason"] for frozen in found["frozen"])
    printed = deploy_prune("inspect", "models:two_layers", "--image-size", "32", cwd=tmp_path, COLUMNS="200").stdout
    assert "8 removable units in 1 groups; 242 parameters, 208.80 k MACs, of which 0 use no weight." in printed
    assert "8 of 10 output channels can go, 2 reach the output: 100.0% of the rest." in printed
    assert "the model: output" in printed


def test_inspect_draws_the_groups(tmp_path):
    (tmp_path / "models.py").write_text(MODELS)
    done = deploy_prune("inspect", "models:two_layers", "--json", "--graph", "groups.dot", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "groups.dot").read_text().startswith("digraph groups {\n")
    assert_refused(
        deploy_prune("inspect", "models:two_layers", "--graph", "groups.svg", cwd=tmp_path),
        "groups.svg is no file for a graph; expected .mmd (Mermaid) or .dot (Graphviz, which makes SVG and PNG of it: "
        "dot -Tsvg)",
    )


def test_data_with_a_wrong_task_or_size(tmp_path):
    assert_refused(
        deploy_prune("data", "digits", "--task", "detct", "--out", tmp_path / "d"),
        "unknown task 'detct': did you mean 'detect'? choose one of detect, segment, pose, obb, classify, semantic, "
        "coco, digits",
    )
    assert_refused(
        deploy_prune("data", "digits", "--train", "0", "--out", tmp_path / "d"),
        "train is 0, expected at least 1 image",
    )
    assert not (tmp_path / "d").exists()


def test_data_writes_and_says_where(tmp_path):
    out = tmp_path / "d"
    done = deploy_prune("data", "digits", "--train", "2", "--val", "1", "--image-size", "64", "--out", out)
    assert done.stdout == f"{out / 'data.yaml'}\n"
    assert len(list((out / "images" / "train").iterdir())) == 2


def test_profiles_are_listed_with_what_they_miss():
    done = deploy_prune("profiles", COLUMNS="300")
    cells = {
        words[1]: words[2:] for line in done.stdout.splitlines() if len(words := line.replace("│", "|").split()) > 3
    }
    assert " ".join(cells["cpu-onnxruntime"]) == "| onnxruntime | cpu | 1 | fp32 | yes |"
    thor = " ".join(cells["jetson-thor"])
    assert "no trtexec on PATH" in thor and "(not run on such a device yet)" in thor
    assert set(list_profiles()) <= cells.keys()


def test_a_profile_for_this_machine(tmp_path):
    path = tmp_path / "here.yaml"
    assert deploy_prune("profiles", "detect", "--out", path).returncode == 0
    assert deploy_prune("profiles", "detect").stdout == path.read_text()
    assert "yes" in deploy_prune("profiles", "--file", path).stdout
    assert_refused(
        deploy_prune("profiles", "--file", "no.yaml"),
        f"profile file no.yaml not found; the profiles by name are {', '.join(list_profiles())}",
    )


@pytest.mark.parametrize("how", ["option", "variable"])
def test_the_traceback_can_be_asked_for(how):
    option = ["--traceback"] if how == "option" else []
    variable = {"DEPLOY_PRUNE_TRACEBACK": "1"} if how == "variable" else {}
    done = deploy_prune(*option, "run", "no.yaml", **variable)
    assert done.returncode != 0
    assert "Traceback (most recent call last)" in done.stderr
    assert "InputError: recipe no.yaml does not exist" in done.stderr


def test_an_unexpected_error_stays_a_traceback():
    broken = (
        "import deploy_prune.hardware.profile as p\ndef broken(): raise ZeroDivisionError\np.list_profiles = broken"
    )
    done = deploy_prune("profiles", before=broken)
    assert "ZeroDivisionError" in done.stderr and "Traceback" in done.stderr and done.returncode == 1
