"""Profile pruned variants of a model on the device: the measurements that the latency model is fitted to."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.progress import Progress
from torch import nn

from deploy_prune.hardware.machine import detect_machine
from deploy_prune.hardware.profile import HardwareProfile
from deploy_prune.latency.sample import NodeSample, VariantSample
from deploy_prune.pruner.plan import architecture_hash
from deploy_prune.runtime.measure import profile_nodes
from deploy_prune.runtime.nodes import NodeProfile
from deploy_prune.search.prunable import Prunable

Export = Callable[[nn.Module, Path], Path]


@dataclasses.dataclass(frozen=True, eq=False)
class Device:
    """How to run a network on the device: export it, measure under a profile, keep what was measured in a folder.

    Attributes:
        profile: conditions of every measurement.
        export: writes a module as an ONNX file and returns its path.
        dense: ONNX file of the dense model, which takes turns with every variant.
        dense_s: its latency in seconds; all times are given as if the machine always ran as fast as then.
        folder: measurements and the ONNX files while they are measured; what is there is not measured again.
    """

    profile: HardwareProfile
    export: Export
    dense: Path
    dense_s: float
    folder: Path

    def profile_widths(self, prunable: Prunable, widths: Mapping[str, int]) -> VariantSample:
        """Node times and total of the variant of these widths, from the folder if it was measured before."""
        stored = self.stored(prunable, widths, "profiled")
        if not stored.exists():
            model = self.export(prunable.build(widths), stored.with_suffix(".onnx"))
            try:
                measured = profile_nodes(model, self.profile, reference=self.dense)
                write_json(stored, {"widths": dict(widths), "profile": measured.to_dict()})
            finally:
                model.unlink(missing_ok=True)
        content = json.loads(stored.read_text())
        return as_sample(content["widths"], NodeProfile.from_dict(content["profile"]), self.dense_s)

    def stored(self, prunable: Prunable, widths: Mapping[str, int], kind: str) -> Path:
        """Where a measurement of this kind is kept, by architecture, widths, machine and conditions."""
        architecture = architecture_hash(prunable.model)
        parts = (architecture, sorted(widths.items()), detect_machine().fingerprint, self.profile.model_dump_json())
        self.folder.mkdir(parents=True, exist_ok=True)
        return self.folder / f"{kind}-{hashlib.sha256(repr(parts).encode()).hexdigest()[:24]}.json"


def profile_variants(
    prunable: Prunable, variants: Sequence[Mapping[str, int]], device: Device, progress: Progress | None = None
) -> list[VariantSample]:
    """Measure all variants, in order; an interrupted run goes on where it stopped."""
    bar = progress.add_task("profile variants", total=len(variants)) if progress else None
    samples = []
    for widths in variants:
        samples.append(device.profile_widths(prunable, widths))
        if progress and bar is not None:
            progress.advance(bar)
    return samples


def as_sample(widths: Mapping[str, int], profile: NodeProfile, dense_s: float) -> VariantSample:
    """A runtime's measurement as the latency model takes it: times at the speed at which dense takes ``dense_s``."""
    assert profile.reference_s is not None
    speed = dense_s / profile.reference_s
    nodes = tuple(NodeSample(n.name, n.op, n.input_numel, n.output_numel, speed * n.time_s) for n in profile.nodes)
    return VariantSample(dict(widths), nodes, speed * profile.timing.median_s)


def write_json(path: Path, content: Any) -> None:
    """Write JSON, whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(content))
    temporary.replace(path)
