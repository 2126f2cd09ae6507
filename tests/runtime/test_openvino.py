"""OpenVINO as it is installed: conditions, refusals, and its profile of nodes under the file's own names."""

import dataclasses

import onnx
import pytest
from onnx import TensorProto, helper

from deploy_prune.errors import InputError
from deploy_prune.hardware.profile import HardwareProfile
from deploy_prune.runtime.measure import compare, measure, profile_nodes
from deploy_prune.runtime.node_names import name_layers
from deploy_prune.runtime.runner import Runner
from deploy_prune.runtime.worker.openvino_engine import RUNS_PER_COMPILATION

pytest.importorskip("openvino")


@pytest.fixture
def openvino(brief):
    return HardwareProfile.model_validate({**brief.model_dump(), "engine": "openvino"})


def refusal(model, profile):
    with pytest.raises(InputError) as caught:
        Runner(model, profile)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_conditions_say_what_it_really_computes_in(make_model, openvino):
    conditions = measure(make_model(), openvino).conditions
    assert (conditions.engine, conditions.provider, conditions.precision) == ("openvino", "CPU", "fp32")
    assert conditions.executed_precision == "f32"  # left alone it takes bf16 where the processor has it
    assert conditions.inputs == ("float32[1, 3, 16, 16]",)


def test_a_precision_that_the_processor_lacks_is_refused(make_model, openvino):
    """No processor has both: at least one of the two is answered by another precision."""
    answers = []
    for precision in ("bf16", "fp16"):
        profile = HardwareProfile.model_validate({**openvino.model_dump(), "precision": precision})
        try:
            with Runner(make_model(), profile) as runner:
                assert runner.conditions().executed_precision == {"bf16": "bf16", "fp16": "f16"}[precision]
        except InputError as error:
            answers.append(str(error))
    assert answers
    assert "cannot run here with openvino: it runs in " in answers[0]


def test_a_comparison_of_unlike_engines_cannot_happen(make_model, brief, openvino):
    with Runner(make_model(), brief) as one, Runner(make_model(), openvino) as other:
        differences = one.conditions().differences(other.conditions())
    assert differences["engine"] == ("onnxruntime", "openvino")


def test_models_are_compared(make_model, openvino):
    comparison = compare(make_model(16, size=32), make_model(128, size=32), openvino, rounds=3)
    assert comparison.speedup < 1


@pytest.mark.parametrize(
    ("keep", "reason"), [(slice(0), "Unable to read the model"), (slice(0, -3), "can't be parsed")]
)
def test_empty_and_truncated_files(make_model, openvino, tmp_path, keep, reason):
    path = tmp_path / "cut.onnx"
    path.write_bytes(make_model().read_bytes()[keep])
    text = refusal(path, openvino)
    assert text.startswith(f"{path} is not a model that openvino can run (") and reason in text
    assert "cpp" not in text  # the places in its C++ source help nobody


def test_an_operator_that_it_does_not_know(openvino, tmp_path):
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Dance", ["x"], ["y"], "/dance")], "g", ports[:1], ports[1:])
    path = tmp_path / "dance.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    assert "No conversion rule found for operations: Dance" in refusal(path, openvino)


def test_dynamic_axes_have_positions_instead_of_names(make_model, openvino):
    model = make_model(size="side", batch="n")
    assert "has no size for its axis 'axis 2'; give it under 'axes' in the profile" in refusal(model, openvino)
    fixed = openvino.model_copy(update={"batch": 2, "axes": {"axis 2": 8, "axis 3": 8}})
    with Runner(model, fixed) as runner:
        assert runner.conditions().inputs == ("float32[2, 3, 8, 8]",)
        assert len(runner.run(3, 10.0)) == 3


def test_spinning_is_not_its_to_choose(brief):
    with pytest.raises(ValueError, match="whether idle threads spin cannot be chosen with openvino"):
        HardwareProfile.model_validate({**brief.model_dump(), "engine": "openvino", "spinning": True})


@pytest.mark.parametrize("width", [30, 32])
def test_nodes_have_the_names_of_the_file_and_say_what_they_fuse(make_model, openvino, width):
    profile = profile_nodes(make_model(width, size=64), openvino)
    nodes = {node.name: node for node in profile.nodes}
    assert [name for name in nodes if "Conv" in name and "Reorder" not in name] == ["/conv1/Conv", "/conv2/Conv"]
    assert nodes["/conv1/Conv"].fused == ("/relu1/Relu",)
    assert nodes["/Add"].fused == ("/relu2/Relu",)
    assert nodes["/conv1/Conv"].input_numel == 3 * 64 * 64 and nodes["/conv1/Conv"].output_numel == width * 64 * 64
    assert nodes["/Add"].input_numel == 2 * width * 64 * 64
    known = {"/conv1/Conv", "/conv2/Conv", "/Add", "/pool", "/Flatten", "/fc/Gemm", "x"}
    for name in nodes:
        assert name in known or name.partition("(")[2].rstrip(")") in known, name
    assert profile.nodes_s > 0
    kept = dataclasses.replace(profile, nodes=tuple(dataclasses.replace(n, samples_s=()) for n in profile.nodes))
    assert type(profile).from_dict(profile.to_dict()) == kept  # raw samples have a place of their own in the store


def test_every_run_has_its_record_across_compilations(make_model, openvino):
    runs = 2 * RUNS_PER_COMPILATION + 3
    with Runner(make_model(64, size=64), openvino, profiling=True) as runner:
        runner.run(runs, 60.0)
        records = [node["durations_us"] for node in runner.nodes()["nodes"]]
    assert {len(times) for times in records} == {runs}
    assert sum(map(sum, records)) > 0  # a node of less than a microsecond may count none


def record(name, op, layers=(), source=None):
    return {"name": name, "op": op, "layers": list(layers), "source": source}


def test_names_by_hand():
    """Its names: a node's, with a suffix where the bias was split off; an output tensor's; numbers of its own."""
    exported = [
        helper.make_node("Conv", ["x"], ["a"], "/conv"),
        helper.make_node("Relu", ["a"], ["b"], "/relu"),
        helper.make_node("Split", ["b"], ["c", "d"], "/split"),
        helper.make_node("Gemm", ["c"], ["191"], "/fc"),
    ]
    raw = [
        record("x_abcd_acdb_/conv", "Reorder", source="x"),
        record("/conv/WithoutBiases", "Convolution", ["/conv/WithoutBiases", "/conv", "/relu"], "x_abcd_acdb_/conv"),
        record("VariadicSplit_77", "Split", ["VariadicSplit_77"], "/conv/WithoutBiases"),
        record("VariadicSplit_77_acdb_abcd_191", "Reorder", source="VariadicSplit_77"),
        record("191", "FullyConnected", ["191"], "VariadicSplit_77_acdb_abcd_191"),
    ]
    assert name_layers(exported, raw) == [
        ("Reorder(x)",),
        ("/conv", "/relu"),
        ("Split(/conv)",),
        ("Reorder(/conv)",),
        ("/fc",),
    ]
    assert name_layers((), raw)[3:] == [("VariadicSplit_77_acdb_abcd_191",), ("191",)]  # a file without names
