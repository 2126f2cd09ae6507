"""Find a device's width step by measuring: how many channels a kernel computes at once."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from torch import nn

from deploy_prune.export.onnx import export_onnx
from deploy_prune.hardware.profile import HardwareProfile
from deploy_prune.latency.widths import detect_step
from deploy_prune.pipeline.device import record_key
from deploy_prune.pipeline.precise_export import precise_export
from deploy_prune.runtime.measure import compare
from deploy_prune.store import MeasurementStore

WIDTHS = tuple(range(40, 81, 4))
"""Channels tried: several within every step of up to 16 around common widths."""
ROUNDS = 5
PAIRS = 2


def find_step(profile: HardwareProfile, store: MeasurementStore) -> int:
    """Channels per kernel step under a profile, from two 3x3 convolutions 64 -> c -> 64 on 20x20, c in :data:`WIDTHS`.

    Each width is compared in turns with the widest one, so that drift of the machine cancels.
    """
    key = record_key("step", profile, f"two 3x3 convolutions, 64 to {WIDTHS} to 64 channels on 20x20")
    found = store.get(key)
    if found is None:
        shares = _measure_shares(profile)
        found = {"widths": WIDTHS, "shares": shares, "step": detect_step(WIDTHS, shares)}
        store.put(key, found, "width step")
    step: int = found["step"]
    return step


def _measure_shares(profile: HardwareProfile) -> list[float]:
    """Time at each width as a share of that at the widest."""
    data = torch.rand(profile.batch, 64, 20, 20)
    # steps of a tenth and more do not need the pairs that a ratio to 1 % does
    brief = profile.model_copy(update={"measuring": profile.measuring.model_copy(update={"pairs": PAIRS})})
    with tempfile.TemporaryDirectory() as folder:
        export = precise_export(lambda m, path: export_onnx(m, data, path), profile, lambda: data, keep=())
        files = [export(_two_convolutions(c), Path(folder) / f"step-{c}.onnx") for c in WIDTHS]
        return [1 / compare(files[-1], file, brief, rounds=ROUNDS).speedup for file in files[:-1]] + [1.0]


def _two_convolutions(channels: int) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(64, channels, 3, padding=1), nn.ReLU(), nn.Conv2d(channels, 64, 3, padding=1))
