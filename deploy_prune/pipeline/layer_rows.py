"""Between the runtime's nodes, the store's layer rows and the latency core's layer keys."""

from __future__ import annotations

from deploy_prune.latency.layer_key import LayerKey, identify_layer
from deploy_prune.runtime.nodes import NodeProfile, NodeTime
from deploy_prune.store import LayerRow


def find_layer(node: NodeTime) -> LayerKey | None:
    """Which layer at which widths a node is; None where the engine does not say what it computes."""
    if node.operator is None:
        return None
    what = node.operator
    return identify_layer(
        what.kind, what.attributes, what.fused, node.input_shapes, node.output_shapes, what.weight_shape
    )


def make_rows(profile: NodeProfile) -> tuple[LayerRow, ...]:
    """The layers of a profiled variant as the store keeps them, in order of execution."""
    rows = []
    for node in profile.nodes:
        layer = find_layer(node)
        if layer is not None:
            samples_ns = tuple(round(1e9 * sample_s) for sample_s in node.samples_s)
            rows.append(LayerRow(layer.kind.to_json(), layer.c_in, layer.c_out, node.name, node.time_s, samples_ns))
    return tuple(rows)
