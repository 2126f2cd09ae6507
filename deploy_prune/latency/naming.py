"""Names under which a node can be followed from variant to variant.

Runtimes insert layout conversions and number them as they go: ONNX Runtime's ``ReorderOutput_token_137`` is
another tensor in the next variant, even where both have the same nodes. Such a node is named after its place
instead.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

import numpy as np

from deploy_prune.latency.sample import NodeSample, VariantSample
from deploy_prune.latency.sizes import SizeDecoder


def name_stably(
    samples: Sequence[VariantSample], decoder: SizeDecoder, cut: Sequence[VariantSample] = ()
) -> list[dict[str, NodeSample]]:
    """The nodes of each variant by a name that means the same node in all of them, and then those of ``cut``.

    Variants in ``cut`` lack nodes of branches that are gone; they have no say in the names.

    A node whose name occurs once in every variant and whose sizes decode exactly is an anchor. Any other node
    keeps its name if that, too, occurs once in every variant and always after the same anchor; else it
    becomes ``"<op> after <anchor>"``, counted from the second such node on.
    """
    everywhere = _everywhere(samples)
    anchors = {name for name in everywhere if _decodes(name, samples, decoder)}
    places = defaultdict(set)
    for sample in samples:
        for node, anchor in _placed(sample, anchors):
            places[node.name].add(anchor)
    kept = anchors | {name for name in everywhere if len(places[name]) == 1}
    return [_renamed(sample, anchors, kept) for sample in (*samples, *cut)]


def _everywhere(samples: Sequence[VariantSample]) -> set[str]:
    counts = [Counter(node.name for node in sample.nodes) for sample in samples]
    return {name for name in counts[0] if all(count[name] == 1 for count in counts)}


def _decodes(name: str, samples: Sequence[VariantSample], decoder: SizeDecoder) -> bool:
    nodes = [next(node for node in sample.nodes if node.name == name) for sample in samples]
    rows = np.arange(len(nodes))
    inputs, outputs = (np.array([getattr(n, side) for n in nodes]) for side in ("input_numel", "output_numel"))
    return decoder.decode(inputs, rows).exact and decoder.decode(outputs, rows).exact


def _placed(sample: VariantSample, anchors: set[str]) -> Iterator[tuple[NodeSample, str]]:
    """Each node with the nearest anchor executed before it."""
    anchor = "the input"
    for node in sample.nodes:
        yield node, anchor
        if node.name in anchors:
            anchor = node.name


def _renamed(sample: VariantSample, anchors: set[str], kept: set[str]) -> dict[str, NodeSample]:
    named: dict[str, NodeSample] = {}
    for node, anchor in _placed(sample, anchors):
        name = place = node.name if node.name in kept else f"{node.op} after {anchor}"
        count = 1
        while name in named:
            count += 1
            name = f"{place} ({count})"
        named[name] = node
    return named
