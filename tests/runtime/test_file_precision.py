"""A file's precision is read, recorded, and held against the profile's."""

import dataclasses

import onnx
import pytest
import torch

from deploy_prune.errors import InputError
from deploy_prune.export.float16 import convert_float16
from deploy_prune.export.int8 import quantise_static
from deploy_prune.export.openvino import write_int8_ir, write_ir
from deploy_prune.export.work import read_work
from deploy_prune.hardware.profile import HardwareProfile
from deploy_prune.runtime.file_precision import read_precision
from deploy_prune.runtime.measure import compare, profile_nodes
from deploy_prune.runtime.runner import Runner
from deploy_prune.runtime.timing import require_alike

pytest.importorskip("onnxruntime")
INPUTS = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def files(make_model, tmp_path):
    """The residual network in three precisions."""
    whole = make_model(64)
    return {
        "fp32": whole,
        "fp16": convert_float16(whole, tmp_path / "half.onnx"),
        "int8": quantise_static(whole, tmp_path / "int8.onnx", INPUTS),
    }


def profile_of(brief, precision, engine="onnxruntime"):
    return HardwareProfile.model_validate({**brief.model_dump(), "engine": engine, "precision": precision})


def test_it_is_read_from_the_file(files, tmp_path):
    assert {name: read_precision(path) for name, path in files.items()} == {name: name for name in files}
    (tmp_path / "bad.onnx").write_bytes(b"not a model")
    assert read_precision(tmp_path / "bad.onnx") is read_precision(tmp_path / "a.pt2") is None


def test_a_profile_takes_files_of_its_precision(files, brief):
    for wanted in ("fp16", "int8"):
        for name, path in files.items():
            if name == wanted:
                with Runner(path, profile_of(brief, wanted)) as runner:
                    assert (runner.conditions().precision, runner.conditions().file_precision) == (wanted, name)
            else:
                with pytest.raises(InputError, match=f"written in {name}, and the profile's precision is {wanted}; "):
                    Runner(path, profile_of(brief, wanted))


def test_under_float_files_of_different_precision_may_meet(files, brief):
    compared = compare(files["fp32"], files["int8"], brief, rounds=2)
    found = compared.baseline.conditions, compared.candidate.conditions
    assert [one.file_precision for one in found] == ["fp32", "int8"]
    with pytest.raises(InputError, match=r"precision \(fp32 and int8\)"):
        require_alike(found[0], dataclasses.replace(found[1], precision="int8"))


def test_quantised_nodes_have_the_names_of_the_file(files, brief):
    nodes = {node.name: node for node in profile_nodes(files["int8"], profile_of(brief, "int8")).nodes}
    assert {"/conv1/Conv", "/conv2/Conv"} <= nodes.keys()
    assert nodes["/conv2/Conv"].op == "QLinearConv" and nodes["/conv2/Conv"].output_numel == 64 * 16 * 16
    assert nodes["/conv1/Conv"].input_numel == 3 * 16 * 16
    assert nodes["/conv2/Conv"].operator.weight_shape == (64, 64, 3, 3)
    assert read_work(files["int8"])["/conv2/Conv"] == read_work(files["fp32"])["/conv2/Conv"]


def test_openvino_says_that_it_computes_in_int8(files, brief, tmp_path):
    pytest.importorskip("openvino")
    pytest.importorskip("nncf")
    profile = profile_of(brief, "int8", "openvino")
    for path in (files["int8"], write_int8_ir(files["fp32"], tmp_path / "int8.xml", INPUTS)):
        with Runner(path, profile) as runner:
            assert runner.conditions().executed_precision == "int8, f32"
            assert runner.conditions().file_precision == "int8"
    with pytest.raises(InputError, match="written in fp32, and the profile's precision is int8"):
        Runner(files["fp32"], profile)
    with pytest.raises(InputError, match="none of its layers runs in INT8, as the profile's 'precision' asks"):
        Runner(write_ir(files["fp32"], tmp_path / "float.xml"), profile)


def test_a_file_without_weights_is_float(tmp_path):
    ports = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in "xy"]
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["x"], ["y"])], "g", ports[:1], ports[1:])
    onnx.save(onnx.helper.make_model(graph), tmp_path / "relu.onnx")
    assert read_precision(tmp_path / "relu.onnx") == "fp32"
