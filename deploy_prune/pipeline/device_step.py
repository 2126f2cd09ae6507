"""Find a device's width step by measuring: how many channels a kernel computes at once."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import nn

from deploy_prune.export.onnx import export_onnx
from deploy_prune.hardware.machine import detect_machine
from deploy_prune.hardware.profile import HardwareProfile
from deploy_prune.latency.widths import detect_step
from deploy_prune.pipeline.variants import write_json
from deploy_prune.runtime.measure import compare

WIDTHS = tuple(range(40, 81, 4))
"""Channels tried: several within every step of up to 16 around common widths."""
ROUNDS = 5
PAIRS = 2


def find_step(profile: HardwareProfile, folder: Path) -> int:
    """Channels per kernel step under a profile, from two 3x3 convolutions 64 -> c -> 64 on 20x20, c in :data:`WIDTHS`.

    Each width is compared in turns with the widest one, so that drift of the machine cancels. The result is kept in
    ``folder`` by machine and profile.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stored = folder / f"step-{profile.name}-{detect_machine().fingerprint}.json"
    if not stored.exists():
        data = torch.rand(profile.batch, 64, 20, 20)
        files = [export_onnx(_two_convolutions(c), data, folder / f"step-{c}.onnx") for c in WIDTHS]
        # steps of a tenth and more do not need the pairs that a ratio to 1 % does
        brief = profile.model_copy(update={"measuring": profile.measuring.model_copy(update={"pairs": PAIRS})})
        shares = [1 / compare(files[-1], file, brief, rounds=ROUNDS).speedup for file in files[:-1]] + [1.0]
        for file in files:
            file.unlink()
        write_json(stored, {"widths": WIDTHS, "shares": shares, "step": detect_step(WIDTHS, shares)})
    step: int = json.loads(stored.read_text())["step"]
    return step


def _two_convolutions(channels: int) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(64, channels, 3, padding=1), nn.ReLU(), nn.Conv2d(channels, 64, 3, padding=1))
