"""What the engines' nodes are, from real profiles of one small network: both engines must tell the same layers."""

import dataclasses
import json

import onnx
import pytest
from onnx import TensorProto, helper

from deploy_prune.hardware.profile import HardwareProfile
from deploy_prune.pipeline.layer_rows import find_layer, make_rows
from deploy_prune.runtime.measure import profile_nodes
from deploy_prune.runtime.operators import Operator, describe_operators


@pytest.fixture
def profile_with(brief):
    def make(engine):
        pytest.importorskip(engine)
        return HardwareProfile.model_validate(
            {**brief.model_dump(exclude={"name", "engine"}), "name": "x", "engine": engine}
        )

    return make


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("width", [32, 30])
def test_convolutions_are_the_same_layers_under_every_engine(make_model, profile_with, engine, width):
    profile = profile_nodes(make_model(width), profile_with(engine))
    nodes = {node.name: node for node in profile.nodes}
    second = nodes["/conv2/Conv"].operator
    assert second == Operator("Conv", second.attributes, second.fused, (width, width, 3, 3))
    layer = find_layer(nodes["/conv2/Conv"])
    assert (layer.c_in, layer.c_out) == (width, width)
    assert dict(layer.kind.attributes) == {"kernel_shape": (3, 3), "pads": (1, 1, 1, 1)}
    # OpenVINO runs this sum on its own, with the activation behind it
    assert layer.kind.fused == (("Add", "Relu") if engine == "onnxruntime" else ())
    if engine == "openvino":
        assert find_layer(nodes["/Add"]).kind.operator == "Add" and nodes["/Add"].operator.fused == ("Relu",)
    first = find_layer(nodes["/conv1/Conv"])
    assert (first.c_in, first.c_out, first.kind.fused) == (3, width, ("Relu",))
    dense = next(node for node in profile.nodes if node.name == "/fc/Gemm")
    assert (find_layer(dense).c_in, find_layer(dense).c_out) == (width, 10)


def test_rows_hold_every_run(make_model, brief):
    profile = profile_nodes(make_model(16), brief)
    rows = make_rows(profile)
    assert [row.name for row in rows] == [node.name for node in profile.nodes]
    for row, node in zip(rows, profile.nodes, strict=True):
        assert len(row.samples_ns) == len(node.samples_s) >= 20 and row.time_s == node.time_s
        assert min(row.samples_ns) <= round(1e9 * row.time_s) <= max(row.samples_ns)


def test_depthwise_groups_are_the_exported_ones(tmp_path, brief):
    """ONNX Runtime pads 24 groups to 32; the layer has 24."""
    weights = helper.make_tensor("w", TensorProto.FLOAT, [24, 1, 3, 3], [0.1] * (24 * 9))
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "v"], ["a"], "/a", kernel_shape=[1, 1]),
            helper.make_node("Conv", ["a", "w"], ["b"], "/b", kernel_shape=[3, 3], group=24, pads=[1, 1, 1, 1]),
            helper.make_node("Conv", ["b", "u"], ["y"], "/c", kernel_shape=[1, 1]),
        ],
        "depthwise",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 16, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 16, 8, 8])],
        [
            weights,
            helper.make_tensor("v", TensorProto.FLOAT, [24, 16, 1, 1], [0.1] * 384),
            helper.make_tensor("u", TensorProto.FLOAT, [16, 24, 1, 1], [0.1] * 384),
        ],
    )
    path = tmp_path / "depthwise.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    nodes = {node.name: node for node in profile_nodes(path, brief).nodes}
    layer = find_layer(nodes["/b"])
    assert (layer.c_in, layer.c_out, dict(layer.kind.attributes)["group"]) == (24, 24, "c_in")


def test_defaults_are_left_out_however_a_file_says_them(tmp_path):
    said = {"dilations": [1, 1], "group": 1, "auto_pad": "NOTSET", "strides": [1, 1], "pads": [0, 0, 0, 0]}
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"], "/a", kernel_shape=[1, 1], **said)],
        "said",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4, 8, 8])],
        [helper.make_tensor("w", TensorProto.FLOAT, [4, 4, 1, 1], [0.1] * 16)],
    )
    onnx.save(helper.make_model(graph), tmp_path / "m.onnx")
    (found,) = describe_operators(tmp_path / "m.onnx", [{"op": "Convolution"}], [("/a",)], None)
    assert found == Operator("Conv", (("kernel_shape", (1, 1)),), (), (4, 4, 1, 1))
    assert Operator.from_dict(json.loads(json.dumps(dataclasses.asdict(found)))) == found


def test_what_computes_no_exported_node_keeps_the_engines_operator(tmp_path):
    onnx.save(helper.make_model(helper.make_graph([], "empty", [], [])), tmp_path / "m.onnx")
    assert describe_operators(tmp_path / "m.onnx", [{"op": "Reorder"}], [("Reorder(/a)",)], None) == [
        Operator("Reorder")
    ]
    assert describe_operators(tmp_path / "m.xml", [{"op": "Pooling"}], [("/p",)], None) == [Operator("Pooling")]
