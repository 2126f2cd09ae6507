from deploy_prune.latency.naming import name_stably
from deploy_prune.latency.sample import NodeSample, VariantSample
from deploy_prune.latency.sizes import SizeDecoder

WIDTHS = [(8, 8), (16, 24), (24, 16), (32, 40), (40, 8), (8, 32)]


def decoder_for(samples):
    return SizeDecoder([sample.widths for sample in samples], ("a", "b"))


def variant(a, b, nodes):
    return VariantSample({"a": a, "b": b}, tuple(NodeSample(*node, 1e-5) for node in nodes), 1e-4)


def test_numbered_layout_conversions_are_followed_by_place():
    samples = []
    for k, (a, b) in enumerate(WIDTHS):
        one, two = ("Reorder_7", "Reorder_9") if k % 2 else ("Reorder_9", "Reorder_7")
        nodes = [
            ("conv1", "Conv", 3, a),
            (one, "Reorder", a, a),
            ("conv2", "Conv", a, b),
            (two, "Reorder", b, b),
        ]
        samples.append(variant(a, b, nodes))
    named = name_stably(samples, decoder_for(samples))
    assert all(list(nodes) == ["conv1", "Reorder after conv1", "conv2", "Reorder after conv2"] for nodes in named)
    assert [nodes["Reorder after conv2"].output_numel for nodes in named] == [b for _, b in WIDTHS]


def test_node_that_comes_and_goes_and_its_double_are_counted():
    samples = []
    for k, (a, b) in enumerate(WIDTHS):
        extra = [("r1", "Reorder", a, a), ("r2", "Reorder", a, a)][: k % 3]
        samples.append(variant(a, b, [("conv1", "Conv", 3, a), *extra, ("conv2", "Conv", a, b)]))
    named = name_stably(samples, decoder_for(samples))
    assert list(named[0]) == ["conv1", "conv2"]
    assert list(named[1]) == ["conv1", "Reorder after conv1", "conv2"]
    assert list(named[2]) == ["conv1", "Reorder after conv1", "Reorder after conv1 (2)", "conv2"]


def test_steady_node_of_odd_size_keeps_its_name():
    samples = [variant(a, b, [("conv1", "Conv", 3, a), ("scores", "MatMul", a, a * b)]) for a, b in WIDTHS]
    assert list(name_stably(samples, decoder_for(samples))[0]) == ["conv1", "scores"]
