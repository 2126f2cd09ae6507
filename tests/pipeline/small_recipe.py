"""A recipe of real stages on a few real images, and how it is run; the tests change it."""

import subprocess
import sys

PROFILE = {
    "name": "quick",
    "engine": "onnxruntime",
    "measuring": {"warm_up_runs": 2, "warm_up_max_s": 0.3, "min_runs": 10, "min_s": 0, "max_s": 1},
}
RECIPE = {
    "name": "two_steps",
    "task": "classify",
    "model": "torchvision/resnet18",
    "data": {"name": "digits", "difficulty": "plain", "train": 64, "val": 20, "image_size": 32},
    "train": {"epochs": 1},
    "sparse": {"epochs": 1, "kind": "group_norm", "strength": 1e-3},
    "schedule": {"steps": 2, "epochs": 1},
    "recover": {"images": 8},
    "finetune": {"epochs": 1},
    "search": {"calibration_images": 4},
    "export": {"parity_images": 2},
    "budget": {"speedup": 1.8},
}


def run(folder, *changes):
    command = [sys.executable, "-m", "deploy_prune", "run", folder / "two_steps.yaml", *changes]
    return subprocess.run([*command, "--out", folder / "run"], capture_output=True, text=True, check=False)
