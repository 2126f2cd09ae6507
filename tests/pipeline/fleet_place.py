"""A folder with small models, quick profiles and a store that knows what is measured of a device once."""

import os
import subprocess
import sys

import yaml

from deploy_prune.hardware.profile import load_profile
from deploy_prune.pipeline import device_roofs, device_step
from deploy_prune.pipeline.device import record_key
from deploy_prune.store import MeasurementStore

ENGINES = ("onnxruntime", "openvino")
LIMITS = {"warm_up_runs": 2, "warm_up_max_s": 0.05, "min_runs": 10, "min_s": 0, "max_s": 0.1, "pairs": 2}
MODELS = """
import os, time
from pathlib import Path
import torch
from torch import nn

def network(*widths):
    layers, inside = [], 3
    for width in widths:
        layers += [nn.Conv2d(inside, width, 3, padding=1), nn.ReLU()]
        inside = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inside, 10))

def one(): return network(64, 64), torch.rand(1, 3, 32, 32)

def two(): return network(48, 96), torch.rand(1, 3, 32, 32)

class Pair(nn.Module):
    def forward(self, a, b): return a + b

def pair(): return Pair(), (torch.rand(1, 3), torch.rand(1, 3))

def hang():
    Path("pid.new").write_text(str(os.getpid()))
    Path("pid.new").rename("pid")
    time.sleep(600)
"""


def make_place(folder):
    """The folder, with profiles ``onnxruntime.yaml`` and ``openvino.yaml``."""
    (folder / "models.py").write_text(MODELS)
    store = MeasurementStore(folder / "store.sqlite")
    for engine in ENGINES:
        path = folder / f"{engine}.yaml"
        path.write_text(yaml.safe_dump({"name": engine, "engine": engine, "measuring": LIMITS}))
        profile = load_profile(path)
        step = f"two 3x3 convolutions, 64 to {device_step.WIDTHS} to 64 channels on 20x20"
        store.put(record_key("step", profile, step), {"step": 32}, "test")
        roofs = {"macs_per_s": 1e11, "bandwidths": [{"moved_bytes": 1000, "bytes_per_s": 1e10}], "node_s": 1e-6}
        store.put(record_key("roofs", profile, device_roofs.SUBJECT), roofs, "test")
    return folder


def write_sweep(place, **settings):
    """Write ``sweep.yaml``: model one at 1.5 times the speed under ONNX Runtime, but for ``settings``."""
    sweep = {"models": ["models:one"], "budgets": ["1.5x"], "profiles": ["onnxruntime.yaml"], **settings}
    (place / "sweep.yaml").write_text(yaml.safe_dump(sweep))


def start_sweep(place, *arguments, **environment):
    """``deploy-prune sweep sweep.yaml`` with what it says in pipes."""
    return subprocess.Popen(
        [sys.executable, "-m", "deploy_prune", "sweep", "sweep.yaml", *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=place,
        env={**os.environ, "DEPLOY_PRUNE_STORE": str(place / "store.sqlite"), "COLUMNS": "200", **environment},
    )  # fmt: skip
