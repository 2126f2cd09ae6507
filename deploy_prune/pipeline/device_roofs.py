"""Find a device's roofs by measuring: how fast an engine multiplies, moves data, and does next to nothing."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from deploy_prune.export.onnx import export_onnx
from deploy_prune.export.work import read_work
from deploy_prune.hardware.profile import HardwareProfile
from deploy_prune.latency.roofline import Bandwidth, Roofs, fit_node_s
from deploy_prune.pipeline.device import record_key
from deploy_prune.pipeline.precise_export import precise_export
from deploy_prune.runtime.measure import measure, profile_nodes
from deploy_prune.runtime.nodes import NodeProfile
from deploy_prune.store import MeasurementStore

CONVOLUTIONS = ((128, 3, 28), (64, 3, 40), (256, 1, 28))
"""Channels, kernel and side of the feature maps whose convolutions are tried for the most arithmetic."""
PRODUCT = 256
"""Side of the square matrices that are multiplied."""
MOVED_BYTES = tuple(2**20 * size for size in (0.5, 2, 8, 32, 128))
"""Data read and written by an element-wise operator; the last is far above the last-level caches of today's CPUs."""
CHAINS = (8, 72)
"""Lengths of the chains of convolutions on one pixel."""
CHAIN_CHANNELS = 16
SUBJECT = f"{CONVOLUTIONS} {PRODUCT} {MOVED_BYTES} {CHAINS} of {CHAIN_CHANNELS}"
"""By which the store knows the roofs."""
LEAST_NODE_S = 2e-6
"""Engines give whole microseconds; a node of fewer says nothing about bandwidth."""


def find_roofs(profile: HardwareProfile, store: MeasurementStore) -> Roofs:
    """The roofs of a profile's engine on this machine, from the store or measured (about half a minute).

    Arithmetic: the fastest of some convolutions and matrix products that fit into caches. Data: an element-wise
    operator and a mean, at several sizes; the better of the engine's own node times and of the whole run. Overhead:
    the slope over the length of a chain of convolutions on a single pixel.

    Raises:
        InputError, MissingDependencyError, MeasurementError: see ``Runner``.
    """
    key = record_key("roofs", profile, SUBJECT)
    found = store.get(key)
    if found is None:
        # roofs are read to two digits, which takes no interval of 1 %; their inputs are no batches of the user's
        limits = {"min_runs": 20, "min_s": 0.1, "max_s": 2.0, "ci_width": 0.03, "repeats": 0}
        brief = profile.model_copy(
            update={"measuring": profile.measuring.model_copy(update=limits), "axes": {}, "batch": 1}
        )
        with tempfile.TemporaryDirectory() as folder:
            found = dataclasses.asdict(_measure_roofs(brief, Path(folder) / "roof.onnx"))
        store.put(key, found, "find_roofs")
    return Roofs(found["macs_per_s"], tuple(Bandwidth(**one) for one in found["bandwidths"]), found["node_s"])


def _measure_roofs(profile: HardwareProfile, file: Path) -> Roofs:
    torch.manual_seed(0)
    rates = [_macs_per_s(_convolutions(c, k), torch.rand(1, c, s, s), profile, file) for c, k, s in CONVOLUTIONS]
    rates.append(_macs_per_s(nn.Linear(PRODUCT, PRODUCT), torch.rand(1, PRODUCT, PRODUCT), profile, file))
    pixel = torch.rand(1, CHAIN_CHANNELS, 1, 1)
    totals_s = [measure(_export(_chain(length), pixel, profile, file), profile).median_s for length in CHAINS]
    float_one = profile.model_copy(update={"precision": "fp32"})  # nothing to quantise in what moves data alone
    moving = float_one if profile.file_precision != "fp32" else profile
    bandwidths = tuple(_bandwidth(int(amount), moving, file) for amount in MOVED_BYTES)
    return Roofs(max(rates), bandwidths, fit_node_s(CHAINS, totals_s))


def _macs_per_s(model: nn.Module, data: Tensor, profile: HardwareProfile, file: Path) -> float:
    """The best rate of a node, by the engine's own times."""
    work = read_work(export_onnx(model, data, file))
    nodes = profile_nodes(_export(model, data, profile, file), profile).nodes
    return max(work[n.name].macs / n.time_s for n in nodes if n.name in work and n.time_s > LEAST_NODE_S)


def _export(model: nn.Module, data: Tensor, profile: HardwareProfile, file: Path) -> Path:
    """The model in the precision of the profile's files, all of it."""
    return precise_export(lambda m, path: export_onnx(m, data, path), profile, lambda: data, keep=())(model, file)


def _bandwidth(amount_bytes: int, profile: HardwareProfile, file: Path) -> Bandwidth:
    """What an operator that reads half of ``amount_bytes`` and writes as much reaches, or its reader after it."""
    data = torch.rand(1, amount_bytes // 2 // 4)  # float32
    found = profile_nodes(export_onnx(_Read(), data, file), profile)
    return Bandwidth(amount_bytes, best_rate(found, 4 * data.numel()))


def best_rate(found: NodeProfile, half_bytes: int) -> float:
    """Bytes per second of the best node, or of a whole run that reads, writes and reads ``half_bytes`` again.

    A profiled run was seen to take several times as long over data that no cache holds as one that is not profiled.
    """
    whole = 3 * half_bytes / found.timing.median_s
    moved = [(4 * (n.input_numel + n.output_numel), n.time_s) for n in found.nodes]
    return max(whole, *(b / t for b, t in moved if t > LEAST_NODE_S and b >= half_bytes), 0.0)


class _Read(nn.Module):
    """Reads and writes (an activation), then reads what was written (a mean)."""

    def forward(self, data: Tensor) -> Tensor:
        """Shape (1, n) in, a scalar out, so that no large output is allocated in every run."""
        return torch.relu(data).mean()


def _convolutions(channels: int, kernel: int) -> nn.Module:
    return _sequence(lambda: nn.Conv2d(channels, channels, kernel, padding=kernel // 2), 3)


def _chain(length: int) -> nn.Module:
    return _sequence(lambda: nn.Conv2d(CHAIN_CHANNELS, CHAIN_CHANNELS, 1), length)


def _sequence(make: Callable[[], nn.Module], length: int) -> nn.Module:
    return nn.Sequential(*(make() for _ in range(length)))
