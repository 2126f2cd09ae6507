"""Peak memory on graphs small enough to follow by hand."""

import numpy as np

from deploy_prune.search.memory import NodeTensors, decode_sizes, live_tensors, peak_steps
from deploy_prune.search.polynomial import Polynomial

# x -> conv -> a -> relu -> b -> conv -> c;  c + b -> d -> reshape -> e -> matmul -> y
NODES = (
    NodeTensors("Conv", ("x",), ("a",)),
    NodeTensors("Relu", ("a",), ("b",)),
    NodeTensors("Conv", ("b",), ("c",)),
    NodeTensors("Add", ("c", "b"), ("d",)),
    NodeTensors("Reshape", ("d",), ("e",)),
    NodeTensors("MatMul", ("e",), ("y",)),
)
SIZES = {"x": 12, "a": 40, "b": 40, "c": 40, "d": 40, "e": 40, "y": 4}


def test_a_residual_block_by_hand():
    """The relu writes over a, the addition over c, and the reshape is d's memory; x goes after the first node."""
    assert live_tensors(NODES, ["x"], ["y"], SIZES) == [
        {"x", "a"}, {"a"}, {"a", "c"}, {"a", "c"}, {"c"}, {"c", "y"},
    ]  # fmt: skip


def test_an_output_and_a_tensor_read_twice_stay():
    nodes = (
        NodeTensors("Relu", ("x",), ("a",)),
        NodeTensors("Relu", ("a",), ("b",)),
        NodeTensors("Conv", ("a",), ("c",)),
    )
    sizes = dict.fromkeys("xabc", 8)
    assert live_tensors(nodes, ["x"], ["b", "c"], sizes) == [{"x"}, {"x", "b"}, {"x", "b", "c"}]


def test_a_sum_that_broadcasts_needs_memory_of_its_own():
    nodes = (NodeTensors("Conv", ("x",), ("a",)), NodeTensors("Add", ("a", "x"), ("b",)))
    assert live_tensors(nodes, ["x"], ["b"], {"x": 4, "a": 2, "b": 4}) == [{"x", "a"}, {"x", "a"}]
    assert live_tensors(nodes, ["x"], ["b"], {"x": 3, "a": 2, "b": 4})[-1] == {"x", "a", "b"}


def test_a_result_that_nothing_reads_is_gone_after_its_node():
    nodes = (NodeTensors("Split", ("x",), ("a", "unused")), NodeTensors("Conv", ("a",), ("y",)))
    assert live_tensors(nodes, ["x"], ["y"], dict.fromkeys(("x", "a", "unused", "y"), 1)) == [
        {"x", "a", "unused"}, {"a", "y"},
    ]  # fmt: skip


def test_sizes_are_decoded_and_what_is_no_sum_counts_in_full():
    full = {"g": 8, "h": 6}
    rng = np.random.default_rng(0)
    variants = [full, *({g: int(rng.integers(1, n + 1)) for g, n in full.items()} for _ in range(9))]
    sizes = [{"sum": 16 * w["g"] + 4 * w["h"] + 20, "product": 4 * w["g"] * w["h"], "input": 12} for w in variants]
    found = decode_sizes(variants, sizes, full)
    assert found["sum"].terms == {("g",): 16, ("h",): 4, (): 20}
    assert found["product"].terms == {(): 4 * 8 * 6} and found["input"].terms == {(): 12}


def test_nodes_below_another_at_all_widths_are_dropped():
    width = {name: Polynomial({(name,): 4}) for name in "gh"}
    sizes = {"a": width["g"], "b": width["h"], "c": Polynomial.constant(4)}
    steps = [frozenset("a"), frozenset("ac"), frozenset("b"), frozenset("c")]
    kept = peak_steps(steps, sizes)
    assert [p.terms for p in kept] == [{("g",): 4, (): 4}, {("h",): 4}]
