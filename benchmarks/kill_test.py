"""Kill a run with SIGKILL at random moments until it ends, and compare it with a run that nobody disturbed.

    python benchmarks/kill_test.py --out /some/empty/folder [--kills 8] [--seed 0]

The recipe is tiny (24 images of 64 pixels, one epoch) but every stage is the real one. Timings differ from run to run,
and with them the widths that the search finds; so the second run starts from the first one's profile and search, and
everything else must be equal: data, weights, predictions, metrics.
"""

import argparse
import hashlib
import json
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

RECIPE = Path(__file__).resolve().parents[1] / "pipelines" / "yolov8n_digits.yaml"
TINY = (
    "data.train=24", "data.val=8", "data.image_size=64", "train.epochs=3", "finetune.epochs=3",
    "search.calibration_images=0", "recover.images=8", "--speedup", "1.3",
)  # fmt: skip
STAGES = (
    "data",
    "train",
    "baseline",
    "profile",
    "search",
    "prune",
    "recover",
    "finetune",
    "export",
    "benchmark",
    "report",
)


def start(folder: Path) -> subprocess.Popen[bytes]:
    """The run as a process of its own."""
    command = [sys.executable, "-m", "deploy_prune", "run", str(RECIPE), *TINY, "--out", str(folder)]
    return subprocess.Popen(command, start_new_session=True)


def finish(folder: Path) -> None:
    """Let the run end by itself; 1 is a missed budget, which a busy machine may bring."""
    if (code := start(folder).wait()) not in (0, 1):
        raise SystemExit(f"the run ended with exit code {code}")


def finished(folder: Path) -> list[str]:
    """The stages that are done."""
    return [stage for stage in STAGES if (folder / stage / "stage.json").exists()]


def kill_often(folder: Path, kills: int, chance: random.Random) -> int:
    """Kill the run some seconds into a stage, again and again; returns how often it was killed."""
    killed = 0
    while killed < kills:
        process = start(folder)
        time.sleep(chance.uniform(4, 25))
        if process.poll() is not None:
            break
        process.send_signal(signal.SIGKILL)
        process.wait()
        killed += 1
        print(f"killed {killed} times, done: {' '.join(finished(folder)) or 'nothing'}", flush=True)
    finish(folder)
    return killed


def digests(folder: Path) -> dict[str, str]:
    """What must be equal: files that hold no timing, and the report without its timings."""
    names = ["export/yolov8n_digits_pruned.onnx", "baseline/dense.onnx", "search/plan.json"]
    names += [f"{stage}/metrics.json" for stage in ("baseline", "prune", "recover", "finetune", "export")]
    found = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}
    report = json.loads((folder / "report" / "report.json").read_text())
    for key in (
        "model",
        "task",
        "profile",
        "mac_reduction",
        "metric_loss",
        "frozen",
        "widths",
        "metric_steps",
        "parity",
    ):
        found[f"report.{key}"] = json.dumps(report[key])
    return found


def main() -> int:
    """Run twice, compare, and say by the exit code whether both ended the same."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="an empty folder")
    parser.add_argument("--kills", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    whole, killed = arguments.out / "whole", arguments.out / "killed"
    finish(whole)
    times = kill_often(killed, arguments.kills, random.Random(arguments.seed))
    for stage in ("profile", "search"):
        shutil.rmtree(killed / stage)
        shutil.copytree(whole / stage, killed / stage)
    for stage in ("prune", "recover", "finetune", "export", "benchmark", "report"):
        shutil.rmtree(killed / stage)
    kill_often(killed, arguments.kills, random.Random(arguments.seed + 1))
    expected, found = digests(whole), digests(killed)
    different = [name for name in expected if expected[name] != found[name]]
    print(f"killed {times} times; different: {', '.join(different) or 'nothing'}")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
