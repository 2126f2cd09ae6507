"""What a pruned model may take besides its latency: arithmetic, parameters, file, memory, latency on other devices."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from math import floor, log2
from pathlib import Path

from deploy_prune.count import Count
from deploy_prune.errors import InputError
from deploy_prune.hardware.availability import require_searchable
from deploy_prune.hardware.profile import HardwareProfile, load_profile
from deploy_prune.latency.sampling import sample_widths
from deploy_prune.pipeline.device import Device
from deploy_prune.pipeline.latency_budget import Budget
from deploy_prune.runtime.hosts import find_host
from deploy_prune.search.memory import NodeTensors, decode_sizes, live_tensors, peak_steps
from deploy_prune.search.menu import Menu
from deploy_prune.search.polynomial import Polynomial, Work
from deploy_prune.search.prunable import Prunable
from deploy_prune.search.solver import Limit
from deploy_prune.search.work import mac_work, parameter_work, weight_bytes

MIB = 2**20
SIZE_VARIANTS = 16
"""Exported variants from which the sizes of activations are read (dense one included)."""


@dataclasses.dataclass(frozen=True)
class LatencyLimit:
    """A further device, by the name, file or object of its profile, and its budget: exactly one of the two."""

    profile: str | Path | HardwareProfile
    latency_ms: float | None = None
    speedup: float | None = None

    def __post_init__(self) -> None:
        Budget.of(latency_ms=self.latency_ms, speedup=self.speedup)

    @property
    def budget(self) -> Budget:
        """The budget in seconds or as a speed-up."""
        return Budget.of(latency_ms=self.latency_ms, speedup=self.speedup)

    def load(self) -> HardwareProfile:
        """The profile.

        Raises:
            InputError: it does not exist, or cannot be searched under here.
        """
        profile = self.profile if isinstance(self.profile, HardwareProfile) else load_profile(self.profile)
        require_searchable(profile, find_host(profile))
        return profile


@dataclasses.dataclass(frozen=True)
class Limits:
    """Limits that the widths keep beside the first latency budget; None is no limit.

    Attributes:
        max_macs: multiply-accumulates of one run on the example inputs.
        max_mac_share: the same as a share of the dense model's, such as 0.5.
        max_params: parameters.
        max_file_mib: size of the exported ONNX file in MiB (2**20 bytes).
        max_memory_mib: weights and live activations of one inference in MiB; for what counts, see
            ``deploy_prune.search.memory``.
        min_width: smallest share of its units that a group keeps; a branch may still go as a whole.
        equal_widths: sets of groups that keep equally many units.
        also: budgets on further devices.

    Raises:
        InputError: a value that is no limit.
    """

    max_macs: float | None = None
    max_mac_share: float | None = None
    max_params: float | None = None
    max_file_mib: float | None = None
    max_memory_mib: float | None = None
    min_width: float = 0.0
    equal_widths: tuple[tuple[str, ...], ...] = ()
    also: tuple[LatencyLimit, ...] = ()

    def __post_init__(self) -> None:
        for name in ("max_macs", "max_mac_share", "max_params", "max_file_mib", "max_memory_mib"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise InputError(f"{name} is {value}; give a number above 0, or leave it out")
        if self.max_mac_share is not None and (self.max_mac_share > 1 or self.max_macs is not None):
            raise InputError(f"max_mac_share is {self.max_mac_share}; give a share up to 1, and not max_macs too")
        if not 0 <= self.min_width <= 1:
            raise InputError(f"min_width is {self.min_width}; give the share of a group's units that stays, 0 to 1")

    @property
    def needs_macs(self) -> bool:
        """Whether the dense model's MACs have to be counted."""
        return self.max_macs is not None or self.max_mac_share is not None


@dataclasses.dataclass(frozen=True)
class SizeKept:
    """A limit beside the largest amount that the plan has by the tables; both in ``unit``."""

    name: str
    amount: float
    allowed: float
    unit: str


def sizes_kept(limits: Sequence[Limit], widths: Mapping[str, int]) -> tuple[SizeKept, ...]:
    """What these widths take of each limit, one entry per name."""
    found: dict[str, SizeKept] = {}
    for limit in limits:
        one = SizeKept(limit.name, limit.scale * limit.tables.cost_s(widths), limit.scale * limit.budget, limit.unit)
        if limit.name not in found or found[limit.name].amount < one.amount:
            found[limit.name] = one
    return tuple(found.values())


def size_limits(
    limits: Limits, prunable: Prunable, menu: Menu, device: Device, counted: Count | None = None
) -> tuple[Limit, ...]:
    """The limits of sizes as constraints over the menu; activations are read from exported variants.

    Args:
        limits: what is limited.
        prunable: the model.
        menu: the widths to choose from.
        device: exports variants, and keeps what was read from them.
        counted: the dense model's MACs, needed for a limit on them.
    """
    found = []

    def limit(name: str, work: Work, budget: float, unit: str, per_unit: float) -> None:
        found.append(Limit(name, work.tables(menu.widths), budget, unit, 1 / per_unit))

    if counted is not None and (limits.max_macs or limits.max_mac_share):
        budget = limits.max_macs or limits.max_mac_share * counted.macs  # type: ignore[operator]
        limit("MACs", mac_work(prunable, counted.macs), budget, "million", 1e6)
    if limits.max_params:
        limit("parameters", parameter_work(prunable), limits.max_params, "million", 1e6)
    if limits.max_file_mib:
        limit("file size", file_work(prunable, device.dense), limits.max_file_mib * MIB, "MiB", MIB)
    if limits.max_memory_mib:
        for work in memory_works(prunable, device):
            limit("peak memory", work, limits.max_memory_mib * MIB, "MiB", MIB)
    return tuple(found)


def file_work(prunable: Prunable, dense: Path) -> Work:
    """Bytes of the ONNX file: the dense file's, less the weights that go.

    An upper bound that is nearly exact: biases, norms and what else has one axis, of which exporters fold a part into
    other weights, count as staying. A file of half precision shrinks by half of the module's bytes.
    """
    weights = weight_bytes(prunable, least_axes=2)
    file_bytes, dense_bytes = dense.stat().st_size, weights.at(prunable.full_widths)
    halvings = max(-floor(log2(file_bytes / dense_bytes)), 0) if dense_bytes else 0

    def smaller(part: Polynomial) -> Polynomial:
        return Polynomial({groups: c >> halvings for groups, c in part.terms.items()})

    inside = {groups: smaller(part) for groups, part in weights.inside.items()}
    stored = Work(smaller(weights.always), inside)
    rest = max(file_bytes - stored.at(prunable.full_widths), 0)
    return Work(stored.always + Polynomial.constant(rest), inside)


def memory_works(prunable: Prunable, device: Device) -> list[Work]:
    """Bytes of all weights and of the live activations, at each node of the dense file that may be the peak.

    Nodes of a branch count as if the branch were there: an upper bound where it goes.
    """
    full = prunable.full_widths
    menu = {group: tuple(range(1, width + 1)) for group, width in full.items()}
    variants = sample_widths(menu, SIZE_VARIANTS)
    flow = device.flow()
    nodes = [NodeTensors(node.operator, node.inputs, node.outputs) for node in flow.nodes]
    steps = live_tensors(nodes, flow.inputs, flow.outputs, flow.sizes_bytes)
    seen = [flow.sizes_bytes, *(device.tensor_sizes(prunable, widths) for widths in variants[1:])]
    weights = weight_bytes(prunable)
    peaks = peak_steps(steps, decode_sizes(variants, seen, full))
    return [Work(weights.always + peak, weights.inside) for peak in peaks]
