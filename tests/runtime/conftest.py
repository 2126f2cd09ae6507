"""Small real ONNX files, and a profile that measures briefly."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from deploy_prune.hardware.profile import HardwareProfile


def _weights(name, *shape):
    values = np.random.default_rng(0).standard_normal(shape).astype("float32") * 0.1
    return numpy_helper.from_array(values, name)


def build_residual_net(width: int, size: int | str = 16, batch: int | str = 1):
    """conv1 -> relu1 -> conv2, added to relu1's output, relu2 -> mean -> fc; torch-like names."""
    conv = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["/conv1/Conv_output_0"], "/conv1/Conv", **conv),
        helper.make_node("Relu", ["/conv1/Conv_output_0"], ["/relu1/Relu_output_0"], "/relu1/Relu"),
        helper.make_node("Conv", ["/relu1/Relu_output_0", "w2", "b2"], ["/conv2/Conv_output_0"], "/conv2/Conv", **conv),
        helper.make_node("Add", ["/conv2/Conv_output_0", "/relu1/Relu_output_0"], ["/Add_output_0"], "/Add"),
        helper.make_node("Relu", ["/Add_output_0"], ["/relu2/Relu_output_0"], "/relu2/Relu"),
        helper.make_node("GlobalAveragePool", ["/relu2/Relu_output_0"], ["/pool_output_0"], "/pool"),
        helper.make_node("Flatten", ["/pool_output_0"], ["/Flatten_output_0"], "/Flatten"),
        helper.make_node("Gemm", ["/Flatten_output_0", "wf"], ["y"], "/fc/Gemm"),
    ]
    weights = [
        _weights("w1", width, 3, 3, 3), _weights("b1", width),
        _weights("w2", width, width, 3, 3), _weights("b2", width),
        _weights("wf", width, 10),
    ]  # fmt: skip
    graph = helper.make_graph(
        nodes,
        "residual",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 3, size, size])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, 10])],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.fixture
def make_model(tmp_path):
    """Writes a small residual network of the given width, input size and batch; returns its path."""

    def make(width=32, size=16, batch=1):
        path = tmp_path / f"net_{width}_{size}_{batch}.onnx"
        onnx.save(build_residual_net(width, size, batch), path)
        return path

    return make


@pytest.fixture
def brief():
    """A profile whose measurements end within half a second."""
    limits = {"warm_up_runs": 10, "min_runs": 20, "min_s": 0.05, "max_s": 0.4, "ci_width": 0.02, "pairs": 2}
    return HardwareProfile.model_validate({"name": "brief", "engine": "onnxruntime", "measuring": limits})
