"""The device as the search sees it: pruned variants of one network, measured once and kept in the store."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from deploy_prune.export.onnx import OnnxFlow, graph_digest, read_flow
from deploy_prune.hardware.profile import HardwareProfile
from deploy_prune.latency.sample import NodeSample, VariantSample
from deploy_prune.pipeline.layer_rows import make_rows
from deploy_prune.runtime.comparison import Comparison
from deploy_prune.runtime.hosts import find_host
from deploy_prune.runtime.measure import compare, profile_nodes
from deploy_prune.runtime.nodes import NodeProfile
from deploy_prune.runtime.runner import engine_version
from deploy_prune.search.prunable import Prunable
from deploy_prune.store import LayerRow, MeasurementStore, RecordKey

Export = Callable[[nn.Module, Path], Path]


@dataclasses.dataclass(frozen=True, eq=False)
class Device:
    """Measures networks of one dense model under a profile; what the store holds is not measured again.

    Attributes:
        profile: conditions of every measurement.
        export: writes a module as an ONNX file and returns its path.
        dense: ONNX file of the dense model, which takes turns with every variant.
        dense_s: its latency in seconds; all times are given as if the machine always ran as fast as then.
        store: where measurements are kept.
        folder: for the files of variants while they are measured.
        model_name: what people call the dense model; the store says it beside each measurement.
    """

    profile: HardwareProfile
    export: Export
    dense: Path
    dense_s: float
    store: MeasurementStore
    folder: Path
    model_name: str = "model"

    @property
    def source(self) -> str:
        """The model's name and the beginning of its graph's digest."""
        return f"{self.model_name} {graph_digest(self.dense)[:8]}"

    def profile_widths(self, prunable: Prunable, widths: Mapping[str, int]) -> VariantSample:
        """Node times and total of the variant of these widths."""

        def take(model: Path) -> tuple[dict[str, Any], tuple[LayerRow, ...]]:
            profile = profile_nodes(model, self.profile, reference=self.dense)
            return profile.to_dict(), make_rows(profile)

        content = self._measured("variant", prunable, widths, take)
        return as_sample(widths, NodeProfile.from_dict(content), self.dense_s)

    def compare_widths(self, prunable: Prunable, widths: Mapping[str, int]) -> Comparison:
        """The variant of these widths against the dense model, by turns."""
        content = self._measured(
            "comparison", prunable, widths, lambda model: (compare(self.dense, model, self.profile).to_dict(), ())
        )
        return Comparison.from_dict(content)

    def flow(self) -> OnnxFlow:
        """Nodes and activations of the dense model's file."""
        return read_flow(self.dense)

    def tensor_sizes(self, prunable: Prunable, widths: Mapping[str, int]) -> dict[str, int]:
        """Bytes of each activation in the file of the variant of these widths; nothing is run."""
        return self._measured("sizes", prunable, widths, lambda model: (dict(read_flow(model).sizes_bytes), ()))

    def _measured(
        self,
        kind: str,
        prunable: Prunable,
        widths: Mapping[str, int],
        take: Callable[[Path], tuple[dict[str, Any], tuple[LayerRow, ...]]],
    ) -> dict[str, Any]:
        """What the store holds of the variant, else what ``take`` measures of its file, kept with its layers."""
        changed = {g: w for g, w in sorted(widths.items()) if w != prunable.full_widths[g]}
        key = record_key(kind, self.profile, json.dumps([graph_digest(self.dense), changed]))
        found = self.store.get(key)
        if found is None:
            name = hashlib.sha256(key.subject.encode()).hexdigest()[:16]
            model = self.export(prunable.build(widths), self.folder / f"{name}.onnx")
            try:
                found, layers = take(model)
            finally:
                model.unlink(missing_ok=True)
            self.store.put(key, found, self.source, layers)
        return found


def record_key(kind: str, profile: HardwareProfile, subject: str) -> RecordKey:
    """The key of a measurement under a profile on its machine; its name, and the way to the machine, do not count."""
    left_out: dict[str, Any] = {"name": True, "untested": True, "tensorrt": True, "python": True, "environment": True}
    left_out["power"] = {"set"}
    if profile.engine == "tensorrt":
        left_out["tensorrt"] = {"trtexec", "cache", "build_timeout_s"}
    conditions = {**profile.model_dump(mode="json", exclude=left_out), "host": None}
    return RecordKey(
        kind=kind,
        machine=find_host(profile).machine.fingerprint,
        engine=f"{profile.engine} {engine_version(profile)}",
        conditions=json.dumps(conditions, sort_keys=True),
        subject=subject,
    )


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
