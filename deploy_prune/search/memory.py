"""Peak memory of one inference as a function of group widths: what is alive while each node of the graph runs.

A node reads tensors and writes others. A tensor is alive from the node that writes it to the last that reads it, an
input from the start, an output to the end. The peak is the largest sum of live tensors over the nodes, in their order;
each sum is affine in the widths, so a limit on the peak is one linear constraint per node, and most are dominated.

Two things that runtimes do are counted: a view (reshape, flatten) is its input's memory, and an elementwise node
writes over an input of its size that nothing reads later. What is not: buffers inside kernels, copies into other
layouts, rounding up to blocks and the fragments between them, weights laid out anew, the runtime itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from deploy_prune.latency.sizes import AffineSize, SizeDecoder
from deploy_prune.search.polynomial import Polynomial, dominating

_VIEWS = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Dropout"})
_IN_PLACE = frozenset({
    "Relu", "Sigmoid", "HardSigmoid", "HardSwish", "Clip", "Tanh", "LeakyRelu", "Elu", "Erf", "Softmax", "Sqrt", "Exp",
    "Add", "Sub", "Mul", "Div", "Neg", "Abs", "Pow",
})  # fmt: skip


@dataclass(frozen=True)
class NodeTensors:
    """A node's operator, and the names of the activations that it reads and writes."""

    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def live_tensors(
    nodes: Sequence[NodeTensors], inputs: Sequence[str], outputs: Sequence[str], sizes: Mapping[str, int]
) -> list[frozenset[str]]:
    """The tensors in memory while each node runs; one that shares another's memory goes by that one's name.

    Args:
        nodes: in order of execution.
        inputs: the graph's inputs.
        outputs: its outputs.
        sizes: of every tensor in the dense model, to tell which may be written over.
    """
    last = {name: k for k, node in enumerate(nodes) for name in node.inputs} | dict.fromkeys(outputs, len(nodes))
    place = {name: name for name in inputs}
    users = dict.fromkeys(inputs, 1)  # tensors that share a place and are still to be read
    steps = []
    for k, node in enumerate(nodes):
        for name in node.outputs:
            shared = _shared_place(node, name, k, last, place, users, sizes)
            place[name] = shared or name
            users[place[name]] = users.get(place[name], 0) + 1
        steps.append(frozenset(p for p, count in users.items() if count))
        ended = {n for n in node.inputs if last[n] == k} | {n for n in node.outputs if last.get(n, -1) <= k}
        for name in ended:
            users[place[name]] -= 1
    return steps


def _shared_place(
    node: NodeTensors,
    output: str,
    step: int,
    last: Mapping[str, int],
    place: Mapping[str, str],
    users: Mapping[str, int],
    sizes: Mapping[str, int],
) -> str | None:
    """The memory that an output takes over from an input."""
    if node.operator in _VIEWS and node.inputs:
        return place[node.inputs[0]]
    if node.operator in _IN_PLACE:
        for name in node.inputs:
            if last[name] == step and users[place[name]] == 1 and sizes[name] == sizes[output] == sizes[place[name]]:
                return place[name]
    return None


def decode_sizes(
    variants: Sequence[Mapping[str, int]], sizes: Sequence[Mapping[str, int]], full_widths: Mapping[str, int]
) -> dict[str, Polynomial]:
    """Bytes of every tensor by widths, from those in several ``variants`` (widths of all groups), the dense one first.

    A tensor whose bytes are no sum over groups (scores of channels against channels) counts in full.
    """
    decoder = SizeDecoder(variants, tuple(full_widths))
    rows = np.arange(len(variants))
    found = {}
    for name, dense in sizes[0].items():
        own = decoder.decode(np.array([of.get(name, dense) for of in sizes]), rows)
        plain = own.exact and own.block == 1
        found[name] = _as_polynomial(own) if plain else Polynomial.constant(dense)
    return found


def _as_polynomial(size: AffineSize) -> Polynomial:
    terms: dict[tuple[str, ...], int] = {(group,): round(c) for group, c in size.coefficients.items()}
    return Polynomial(terms) + Polynomial.constant(round(size.constant))


def peak_steps(steps: Sequence[frozenset[str]], bytes_of: Mapping[str, Polynomial]) -> list[Polynomial]:
    """Bytes alive at each node by widths, without nodes at which another never has less alive."""
    return dominating([sum((bytes_of[name] for name in sorted(step)), Polynomial()) for step in steps])
