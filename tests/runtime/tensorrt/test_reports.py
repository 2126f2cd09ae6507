"""The readers, on files in the documented formats. All of these were written by hand; none comes from a TensorRT."""

import json

import pytest

from deploy_prune.runtime.worker.refusal import RefusedError
from deploy_prune.runtime.worker.tensorrt_reports import (
    check_precision,
    describe_layer,
    join_times,
    read_layers,
    read_log,
    read_profile,
    read_times,
    split_name,
)

# By hand, after exportJSONTrace in samples/common/sampleReporting.cpp, equal at the tags v8.6.1 to v11.1.
TIMES = """[
  { "startEnqMs" : 201.5, "endEnqMs" : 201.6, "startH2dMs" : 201.5, "endH2dMs" : 201.5, "startComputeMs" : 201.6, \
"endComputeMs" : 203.1, "startD2hMs" : 203.1, "endD2hMs" : 203.1, "h2dMs" : 0, "computeMs" : 1.51347, "d2hMs" : 0, \
"latencyMs" : 1.51347 }
, { "startEnqMs" : 203.2, "endEnqMs" : 203.3, "startH2dMs" : 203.2, "endH2dMs" : 203.2, "startComputeMs" : 203.3, \
"endComputeMs" : 204.8, "startD2hMs" : 204.8, "endD2hMs" : 204.8, "h2dMs" : 0, "computeMs" : 1.49914, "d2hMs" : 0, \
"latencyMs" : 1.49914 }
]
"""
# By hand, after exportJSONProfile in the same file; the share of a total of 0 is what C++ prints of 0 / 0.
PROFILE = """[
  { "count" : 41 }
, { "name" : "/conv1/Conv + /relu1/Relu", "timeMs" : 4.1, "averageMs" : 0.1, "medianMs" : 0.098, "percentage" : -nan }
, { "name" : "/fc/Gemm", "timeMs" : 0.82, "averageMs" : 0.02, "medianMs" : 0.0205, "percentage" : nan }
]
"""
# By hand, after the page "Engine Inspector" of TensorRT 8 and 10 (ProfilingVerbosity.DETAILED).
LAYERS_10 = {
    "Layers": [
        {
            "Name": "Reformatting CopyNode for Input Tensor 0 to /conv1/Conv + /relu1/Relu",
            "LayerType": "Reformat",
            "Inputs": [
                {"Name": "x", "Dimensions": [1, 3, 8, 8], "Format/Datatype": "Row major linear FP32"},
            ],
            "Outputs": [
                {"Name": "r", "Dimensions": [1, 3, 8, 8], "Format/Datatype": "Channel major FP16 format"},
            ],
            "ParameterType": "Reformat",
            "Metadata": "",
        },
        {
            "Name": "/conv1/Conv + /relu1/Relu",
            "LayerType": "CaskConvolution",
            "Inputs": [
                {"Name": "r", "Dimensions": [1, 3, 8, 8], "Format/Datatype": "Channel major FP16 format"},
            ],
            "Outputs": [
                {"Name": "a", "Dimensions": [1, 16, 8, 8], "Format/Datatype": "Channel major FP16 format"},
            ],
            "ParameterType": "Convolution",
            "Kernel": [3, 3],
            "Activation": "RELU",
            "Weights": {"Type": "Half", "Count": 432},
            "TacticName": "sm80_xmma_fprop_implicit_gemm",
            "Metadata": "[ONNX Layer: /conv1/Conv]\x1e[ONNX Layer: /relu1/Relu]",
        },
    ],
    "Bindings": ["x", "y"],
}
# By hand, after "Migrating IEngineInspector Usage from TensorRT 10.x to 11.x".
LAYERS_11 = {
    "Layers": [
        {
            "Name": "__myl_Conv_myl0_1",
            "LayerType": "conv",
            "Inputs": [{"Name": "x", "Dimensions": [1, 3, 8, 8], "Format": "LINEAR", "Datatype": "Half"}],
            "Constants": [{"Name": "w", "Dimensions": [16, 3, 3, 3], "Format": "LINEAR", "Datatype": "Half"}],
            "Outputs": [{"Name": "a", "Dimensions": [1, 16, 8, 8], "Format": "LINEAR", "Datatype": "Half"}],
            "Metadata": "[ONNX Layer: /conv1/Conv]\x1f[ONNX Layer: /relu1/Relu]",
            "SomethingNew": {"a": 1},
        }
    ],
    "I/O Tensors": [
        {
            "Name": "x",
            "IOMode": "Input",
            "DataType": "Half",
            "Dimensions": [1, 3, 8, 8],
            "Location": "Device",
            "IsShapeInferenceIO": False,
            "ProfileInfo": [{"MinShape": [1, 3, 8, 8], "Format": "Row major linear FP16 format (kLINEAR)"}],
        }
    ],
}
# By hand, after logs from Jetsons in public issues (NVIDIA-AI-IOT/jetson_dla_tutorial 3, NVIDIA/TensorRT 2318).
DLA_LOG = """[05/14/2024-10:00:00] [I] Selected Device: Orin
[05/14/2024-10:00:01] [W] [TRT] Layer '/c/Constant' (CONSTANT): Unsupported on DLA. Switching this layer's device type \
to GPU.
[05/14/2024-10:00:01] [W] [TRT] Layer '(Unnamed Layer* 277) [Shuffle]' (SHUFFLE): Unsupported on DLA. Switching this \
layer's device type to GPU.
[05/14/2024-10:00:01] [W] [TRT] Default DLA is enabled but layer old is not supported on DLA, falling back to GPU.
[05/14/2024-10:00:02] [I] [TRT] ---------- Layers Running on DLA ----------
[05/14/2024-10:00:02] [I] [TRT] [DlaLayer] {ForeignNode[/conv1/Conv.../relu2/Relu]},
[05/14/2024-10:00:02] [I] [TRT] ---------- Layers Running on GPU ----------
[05/14/2024-10:00:02] [I] [TRT] [GpuLayer] SOFTMAX: prob
"""


@pytest.fixture
def write(tmp_path):
    def write_file(text):
        path = tmp_path / "report.json"
        path.write_text(text)
        return path

    return write_file


def test_times_are_those_on_the_device(write):
    assert read_times(write(TIMES)) == [pytest.approx(1.51347e-3), pytest.approx(1.49914e-3)]


def test_layer_times_are_medians_and_a_share_may_be_no_number(write):
    assert read_profile(write(PROFILE)) == [
        ("/conv1/Conv + /relu1/Relu", pytest.approx(9.8e-5)),
        ("/fc/Gemm", pytest.approx(2.05e-5)),
    ]


@pytest.mark.parametrize(
    ("read", "text", "reason"),
    [
        (read_times, "[]", "trtexec wrote no 'computeMs' of any run into report.json"),
        (read_times, '{"computeMs": 1}', "report.json of trtexec is no list"),
        (read_times, '[{"computeMs" : 1', "report.json of trtexec cannot be read"),
        (read_profile, '[{"count" : 3}]', "trtexec wrote no layer times into report.json"),
        (read_profile, '[{"name" : "a"b", "medianMs" : 1}]', "cannot be read"),  # why names are made plain
    ],
)
def test_a_file_that_is_not_as_documented(write, read, text, reason):
    with pytest.raises(RefusedError, match=reason):
        read(write(text))


def test_a_file_that_was_not_written(tmp_path):
    with pytest.raises(RefusedError, match=r"trtexec did not write none.json"):
        read_times(tmp_path / "none.json")


def test_layers_before_11():
    copy, conv = map(describe_layer, read_layers(json.dumps(LAYERS_10)))
    assert (copy["op"], copy["layers"], copy["source"]) == ("Reformat", [], "/conv1/Conv")
    assert conv == {
        "name": "/conv1/Conv + /relu1/Relu",
        "op": "CaskConvolution",
        "layers": ["/conv1/Conv", "/relu1/Relu"],
        "source": None,
        "inputs": [{"float16": [1, 3, 8, 8]}],
        "outputs": [{"float16": [1, 16, 8, 8]}],
        "activation_bytes": 2 * 3 * 8 * 8,
    }


def test_layers_of_11_have_format_and_type_apart_and_names_of_their_own():
    (layer,) = map(describe_layer, read_layers(json.dumps(LAYERS_11)))
    assert layer["layers"] == ["/conv1/Conv", "/relu1/Relu"]
    assert layer["inputs"] == [{"float16": [1, 3, 8, 8]}] and layer["outputs"] == [{"float16": [1, 16, 8, 8]}]


def test_layers_of_an_engine_that_was_not_built_in_detail():
    (layer,) = read_layers('{"Layers": ["/conv1/Conv + PWN(/act/Sigmoid, /act/Mul)"], "Bindings": []}')
    described = describe_layer(layer)
    assert described["layers"] == ["/conv1/Conv", "/act/Sigmoid", "/act/Mul"] and described["inputs"] == []


@pytest.mark.parametrize(
    ("name", "nodes"),
    [
        ("/conv/Conv", ["/conv/Conv"]),
        ("/conv/Conv + /Add + /relu/Relu", ["/conv/Conv", "/Add", "/relu/Relu"]),
        ("PWN(PWN(/m.0/act/Sigmoid), /m.0/act/Mul)", ["/m.0/act/Sigmoid", "/m.0/act/Mul"]),
        ("{ForeignNode[/a/Add.../b/Mul]}", ["/a/Add", "/b/Mul"]),
        ("/r/Reshape + (Unnamed Layer* 7) [Shuffle]", ["/r/Reshape"]),
        ("Reformatting CopyNode for Output Tensor 1 to /split/Split", ["/split/Split"]),
        ("node_of_192", ["192"]),
    ],
)
def test_a_layer_name_is_taken_apart(name, nodes):
    assert split_name(name) == nodes


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Row major linear FP32", "float"),
        ("Channel major FP16 format where channel % 8 == 0", "float16"),
        ("Thirty-two wide channel vectorized row major Int8 format", "int8"),
        ("Half", "float16"),
        ("BFloat16", "bfloat16"),
        ("UInt8", "uint8"),
        ("N/A due to dynamic shapes", "unknown"),
    ],
)
def test_types_are_found_in_words(text, kind):
    (tensor,) = describe_layer({"Name": "a", "Inputs": [{"Dimensions": [4], "Format/Datatype": text}]})["inputs"]
    assert tensor == {kind: [4]}


def test_two_layers_of_one_name_keep_their_order_and_an_unknown_one_its_name():
    layers = [{"Name": "a", "LayerType": "First"}, {"Name": "a", "LayerType": "Second"}]
    records = join_times(layers, [("a", [1.0]), ("b", [2.0]), ("a", [3.0])])
    assert [(record["op"], record["durations_us"]) for record in records] == [
        ("First", [1.0]),
        ("Layer", [2.0]),
        ("Second", [3.0]),
    ]


def test_what_ran_on_the_dla_and_what_fell_back():
    log = read_log(DLA_LOG)
    assert log.gpu == "Orin"
    assert log.dla_layers == ("{ForeignNode[/conv1/Conv.../relu2/Relu]}",)
    assert log.gpu_layers == ("SOFTMAX: prob",)
    assert log.fallback == ("/c/Constant", "(Unnamed Layer* 277) [Shuffle]", "old")


def test_errors_of_a_log_in_their_order():
    log = read_log("[11/25/2026-12:00:00] [E] [TRT] first\n[E] second\n[E] second\n[W] [TRT] no error\n")
    assert log.errors == ("first", "second") and log.gpu == "unknown"


def test_strong_typing_needs_a_file_of_the_profiles_precision():
    layers = LAYERS_11["Layers"]
    assert check_precision(layers, "fp16", "strong") == "fp16 (strong typing)"
    with pytest.raises(RefusedError, match="it runs in fp16, the profile's 'precision' is int8; export it in int8"):
        check_precision(layers, "int8", "strong")
    assert check_precision(layers, "int8", "weak") == "fp16 (weak typing)"  # TensorRT's choice, and told
    assert check_precision([{"Name": "/conv"}], "fp16", "strong") is None
