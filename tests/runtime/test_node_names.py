"""One name per node at every width, although ONNX Runtime's own names change with it."""

import pytest

from deploy_prune.runtime.measure import profile_nodes
from deploy_prune.runtime.runner import Runner


def own_names(model, profile):
    with Runner(model, profile, profiling=True) as runner:
        runner.run(1, 1.0)
        return {node["name"] for node in runner.nodes()["nodes"]}


@pytest.mark.parametrize("width", [30, 32, 64])
def test_names_are_those_of_the_exported_model(make_model, brief, width):
    names = [node.name for node in profile_nodes(make_model(width), brief).nodes]
    assert len(names) == len(set(names))
    assert [n for n in names if not n.startswith("Reorder")] == [
        "/conv1/Conv",
        "/conv2/Conv",
        "/pool",
        "/Flatten",
        "/fc/Gemm",
    ]
    # where there is a reorder, its name says which tensor it converts
    assert {n for n in names if n.startswith("Reorder")} <= {
        "ReorderInput(/relu1/Relu)",
        "ReorderOutput(/relu1/Relu)",
        "ReorderInput(/relu2/Relu)",
        "ReorderOutput(/relu2/Relu)",
        "ReorderOutput(/pool)",
    }


def test_the_engines_own_names_do_change(make_model, brief):
    """The reason for all this; when it fails, ONNX Runtime has improved and ``node_names`` can go."""
    assert own_names(make_model(30), brief) != own_names(make_model(64), brief)
