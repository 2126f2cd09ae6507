"""One node over all profiled variants: its sizes, decoded, and its times."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from deploy_prune.latency.branches import Branches, find_owner
from deploy_prune.latency.naming import name_stably
from deploy_prune.latency.sample import NodeSample, VariantSample
from deploy_prune.latency.sizes import AffineSize, SizeDecoder

Floats = npt.NDArray[np.float64]
Sizes = tuple[AffineSize, AffineSize]
Decode = Callable[[npt.NDArray[np.int64], npt.NDArray[np.intp]], AffineSize]


@dataclass(frozen=True, eq=False)
class NodeSeries:
    """Input and output ``sizes`` of a node, their ``dense_sizes`` in elements, and arrays over the variants.

    ``i`` and ``o`` (variants,) are the sizes relative to dense; ``times_s`` (variants,) is zero where
    ``present`` (variants,) is false: a layout conversion that a variant did not need. ``branch`` has the groups
    of the branch that the node goes with, none for a node that stays.
    """

    name: str
    op: str
    sizes: Sizes
    dense_sizes: tuple[float, float]
    i: Floats
    o: Floats
    times_s: Floats
    present: npt.NDArray[np.bool_]
    branch: tuple[str, ...] = ()

    def at_speed(self, speeds: Floats) -> "NodeSeries":
        """The series with each variant's time divided by that variant's slowness, ``speeds`` (variants,)."""
        return replace(self, times_s=self.times_s / speeds)


def collect_series(
    samples: Sequence[VariantSample],
    full_widths: Mapping[str, int],
    cut: Sequence[VariantSample] = (),
    branches: Branches | None = None,
) -> tuple[NodeSeries, ...]:
    """Every node of the variants, over ``samples``; ``cut`` are variants without some of the ``branches``.

    Raises ``InputError`` when a variant lacks the width of a group.
    """
    decoder = SizeDecoder([sample.widths for sample in samples], tuple(full_widths))
    everything = name_stably(samples, decoder, cut)
    named, rest = everything[: len(samples)], everything[len(samples) :]
    names = tuple(dict.fromkeys(name for nodes in named for name in nodes))
    seen = {name: [nodes.get(name) for nodes in named] for name in names}
    for nodes in seen.values():
        _decode(nodes, decoder.decode)  # the exact sizes first: the others are compared with them
    series = (_collect(name, nodes, decoder, full_widths) for name, nodes in seen.items())
    widths = [sample.widths for sample in cut]
    return tuple(
        replace(node, branch=find_owner([node.name not in nodes for nodes in rest], widths, branches or {}))
        for node in series
    )


def _collect(
    name: str, nodes: Sequence[NodeSample | None], decoder: SizeDecoder, full_widths: Mapping[str, int]
) -> NodeSeries:
    sizes = _decode(nodes, decoder.decode_near)
    dense_input, dense_output = (max(size.at(full_widths), 1.0) for size in sizes)
    return NodeSeries(
        name=name,
        op=next(node.op for node in nodes if node is not None),
        sizes=sizes,
        dense_sizes=(dense_input, dense_output),
        i=decoder.at_variants(sizes[0]) / dense_input,
        o=decoder.at_variants(sizes[1]) / dense_output,
        times_s=np.array([0.0 if node is None else node.time_s for node in nodes]),
        present=np.array([node is not None for node in nodes]),
    )


def _decode(nodes: Sequence[NodeSample | None], decode: Decode) -> Sizes:
    """Input and output size of a node, from the variants that executed it."""
    rows = np.array([row for row, node in enumerate(nodes) if node is not None])
    inputs = np.array([node.input_numel for node in nodes if node is not None])
    outputs = np.array([node.output_numel for node in nodes if node is not None])
    return decode(inputs, rows), decode(outputs, rows)
