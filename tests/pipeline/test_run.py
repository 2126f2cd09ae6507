"""The whole pipeline on a tiny recipe: every stage the real one, on real images, in processes of their own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from deploy_prune.artifact.manifest import read_manifest
from deploy_prune.pipeline.run import _STAGES
from deploy_prune.report.front import read_front
from deploy_prune.report.result import read_result

ROOT = Path(__file__).parents[2]
PROFILE = {
    "name": "quick",
    "engine": "onnxruntime",
    "measuring": {"warm_up_runs": 2, "warm_up_max_s": 0.3, "min_runs": 10, "min_s": 0, "max_s": 1},
}
TINY = {
    "data": {"name": "digits", "train": 16, "val": 4, "image_size": 32},
    "train": {"epochs": 1},
    "recover": {"images": 8},
    "finetune": {"epochs": 1, "distil": True},
    "search": {"calibration_images": 0},
    "export": {"parity_images": 2, "format": ["onnx"], "int8": True, "int8_images": 2},
    "budget": {"speedup": 1.2, "max_mac_share": 0.8, "max_file_mib": 11.0},
}
ASKED = [stage for stage in _STAGES if stage not in ("sparse", "prepare")]

pytestmark = pytest.mark.slow


def run_python(*arguments):
    return subprocess.run([sys.executable, *map(str, arguments)], capture_output=True, text=True, check=False)


def run(folder, *changes):
    return run_python("-m", "deploy_prune", "run", folder / "tiny.yaml", *changes, "--out", folder / "run")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    (folder / "quick.yaml").write_text(yaml.safe_dump(PROFILE))
    recipe = yaml.safe_load((ROOT / "pipelines" / "yolov8n_digits.yaml").read_text())
    recipe |= TINY | {"name": "tiny", "profile": str(folder / "quick.yaml")}
    (folder / "tiny.yaml").write_text(yaml.safe_dump(recipe))
    done = run(folder)
    assert done.returncode in (0, 1), done.stderr  # 1: a machine that is busy with other tests missed the budget
    return folder, done


def test_every_stage_says_one_line_and_the_result_is_printed(finished):
    _, done = finished
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines[: len(ASKED)]] == ASKED
    assert "speed-up" in done.stdout and "Report, pictures and report.json: " in done.stdout


def test_the_report_is_whole_and_its_artifacts_are_there(finished):
    folder, done = finished
    result = read_result(folder / "run" / "report" / "report.json")
    assert (result.all_kept, done.returncode) in ((True, 0), (False, 1))
    macs, file = result.limits
    assert (macs.name, macs.unit, file.name, file.unit) == ("MACs", "million", "file size", "MiB")
    assert macs.amount == pytest.approx(result.pruned.macs / 1e6) and macs.amount <= 0.8 * result.dense.macs / 1e6
    assert result.pruned.size_bytes <= file.amount * 2**20 <= 11 * 2**20
    assert all(one.loss_bound <= one.loss for one in result.rounds)
    assert result.mac_reduction > 1 and result.pruned.params < result.dense.params
    assert result.rounds and result.frozen and result.layers
    assert {step.name for step in result.recovery} >= {"batch norm statistics", "least squares", "biases"}
    assert all(step.kept == (step.after < step.before) for step in result.recovery)
    assert any(width.kept < width.dense for width in result.widths)
    assert [(step.stage, step.form) for step in result.metric_steps] == [
        ("baseline", "pytorch"), ("baseline", "onnx"), ("prune", "pytorch"), ("recover", "pytorch"),
        ("finetune", "pytorch"), ("export", "onnx"),
    ]  # fmt: skip
    for artifact in result.artifacts:
        assert (folder / "run" / artifact.path).is_file()
    assert {path.suffix for path in (folder / "run" / "report").iterdir()} == {".json", ".md", ".png"}


def test_the_artifact_is_in_order_and_says_what_the_report_says(finished):
    folder, _ = finished
    artifact = folder / "run" / "artifact"
    done = run_python("-m", "deploy_prune", "verify", artifact)
    assert (done.returncode, done.stderr) == (0, "")
    manifest, result = read_manifest(artifact), read_result(folder / "run" / "report" / "report.json")
    assert [model.precision for model in manifest.models] == ["fp32", "int8"]
    dense, pruned = manifest.measured
    assert dense.latency_ms.median == result.dense.latency_ms.median and dense.speedup is None
    assert (pruned.model, pruned.speedup.low, pruned.macs) == ("model.onnx", result.speedup.low, result.pruned.macs)
    assert (manifest.budget.met, len(manifest.limits), len(manifest.samples)) == (result.budget.met, 2, 4)
    assert not any("prepares pictures" in note or "decoder" in note for note in manifest.notes)
    checked = run_python(artifact / "infer.py", "--check")
    assert checked.returncode == 0, checked.stdout


def test_running_again_skips_everything_and_prints_the_same_result(finished):
    folder, first = finished
    again = run(folder)
    lines = again.stdout.splitlines()
    assert all(line.endswith("(unchanged, skipped)") for line in lines[: len(ASKED)])
    assert lines[len(ASKED) :] == first.stdout.splitlines()[len(ASKED) :]


def test_the_independent_script_reads_the_run(finished):
    folder, _ = finished
    done = run_python(ROOT / "benchmarks" / "measure_again.py", folder / "run", "--seconds", "1")
    assert done.returncode in (0, 1) and "share of the budget" in done.stdout, done.stderr


def test_files_of_further_precisions_are_part_of_the_run(finished):
    folder, _ = finished
    result = read_result(folder / "run" / "report" / "report.json")
    assert [(one.format, one.precision) for one in result.exports] == [("onnx", "fp32"), ("onnx", "int8")]
    whole, integer = result.exports
    assert (folder / "run" / "formats" / integer.path).stat().st_size == integer.size_bytes < whole.size_bytes / 2
    assert "QLinearConv" in integer.kernels and integer.speedup and integer.metric is not None
    page = (folder / "run" / "report" / "report.md").read_text()
    assert "## Formats and precisions" in page and integer.path in page


def test_an_unreachable_budget_names_the_fastest_latency_and_keeps_what_was_measured(finished):
    folder, _ = finished
    done = run(folder, "--speedup", "1000")
    assert done.returncode == 1
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["data", "train", "baseline", "profile"]
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: the budget of ") and "the fastest plan is predicted to take" in line
    assert not (folder / "run" / "report").exists()  # no report of the old budget beside the new one
    assert json.loads((folder / "run" / "profile" / "stage.json").read_text())["stage"] == "profile"


def test_several_budgets_share_the_dense_model_and_end_in_a_front(finished):
    folder, _ = finished
    command = ("-m", "deploy_prune", "run", folder / "tiny.yaml", "--budgets", "1000x,1.2", "--out", folder / "several")
    done = run_python(*command)
    assert done.returncode == 1, done.stderr
    assert sum(line.startswith("train") and not line.endswith("skipped)") for line in done.stdout.splitlines()) == 1
    front = read_front(folder / "several" / "front" / "front.json")
    assert [(point.asked, point.pruned is None) for point in front.points] == [("1.2x", False), ("1000x", True)]
    assert front.points[1].fastest_ms > 0 and "unreachable" in front.points[1].reason
    (mild, _), dense = front.points, front.dense
    assert mild.pruned.metric.name == dense.metric.name == "mAP50-95"
    assert mild.pruned.params < dense.params and mild.pruned.rounds and mild.seconds > 0
    assert {one.phase for one in front.spent} == {"data", "train", "baseline", "profile"}
    shared = [(folder / "several" / part / "train" / "dense.pt").stat().st_ino for part in (".", "1.2x", "1000x")]
    assert len(set(shared)) == 1
    assert read_result(folder / "several" / "1.2x" / "report" / "report.json").budget.speedup == 1.2
    again = run_python(*command)
    assert "(unchanged, skipped)" in again.stdout and not any(
        line.startswith("finetune") and not line.endswith("skipped)") for line in again.stdout.splitlines()
    )
