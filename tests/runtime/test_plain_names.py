"""Names that TensorRT's reports can carry, and the way back."""

import onnx
import pytest
from onnx import numpy_helper

from deploy_prune.errors import InputError
from deploy_prune.runtime.plain_names import make_plain, plain_names


@pytest.mark.parametrize(
    ("names", "plain"),
    [
        (["/model.0/conv/Conv", "/a-b_c"], ["/model.0/conv/Conv", "/a-b_c"]),
        (['say "a"', "back\\slash", "Faltung Ä"], ["say_a_", "back_slash", "Faltung_"]),
        (["a b", "a_b", "a+b"], ["a_b-2", "a_b", "a_b-3"]),  # what is plain keeps its name
        (["a", "a", ""], ["a", "a-2", "node"]),
    ],
)
def test_names_become_plain_and_stay_apart(names, plain):
    assert plain_names(names) == plain


def test_a_plain_file_is_used_as_it_is(make_model, tmp_path):
    model = make_model(size="side", batch="n")
    plain = make_plain(model, tmp_path / "nowhere")
    assert plain.path == model and plain.renamed == {}
    assert plain.inputs == (("x", "float32", ("n", 3, "side", "side")),)
    assert plain.weighted == {"/conv1/Conv", "/conv2/Conv", "/fc/Gemm"}


def test_a_copy_computes_the_same_under_other_names(make_model, tmp_path):
    model = onnx.load(make_model())
    model.graph.node[0].name = 'a "b"'
    path = tmp_path / "odd.onnx"
    onnx.save(model, path)
    (tmp_path / "copy").mkdir()
    plain = make_plain(path, tmp_path / "copy")
    copy = onnx.load(plain.path)
    assert plain.renamed == {"a_b_": 'a "b"'} and copy.graph.node[0].name == "a_b_"
    copy.graph.node[0].name = 'a "b"'
    assert copy == model


def test_weights_in_files_of_their_own_are_taken_along(make_model, tmp_path):
    """One file is what is sent to a board, and what an engine is known by."""
    (tmp_path / "copy").mkdir()
    path = tmp_path / "external.onnx"
    onnx.save(onnx.load(make_model()), path, save_as_external_data=True, size_threshold=0, location="weights")
    plain = make_plain(path, tmp_path / "copy")
    (tmp_path / "weights").unlink()
    copy, original = onnx.load(plain.path).graph, onnx.load(make_model()).graph
    assert list(copy.node) == list(original.node)
    for kept, weights in zip(copy.initializer, original.initializer, strict=True):
        assert (numpy_helper.to_array(kept) == numpy_helper.to_array(weights)).all()


def test_the_node_with_weights_names_a_layer(make_model, tmp_path):
    plain = make_plain(make_model(), tmp_path)
    node = {"layers": ["/quantise", "/conv1/Conv", "/relu1/Relu"], "source": None}
    (restored,) = plain.restore({"nodes": [node], "graph": None})["nodes"]
    assert restored["layers"] == ["/conv1/Conv", "/quantise", "/relu1/Relu"]


def test_a_file_that_is_no_model(tmp_path):
    path = tmp_path / "cut.onnx"
    path.write_bytes(b"PK\x03\x04 a zip file")
    with pytest.raises(InputError, match=r"cut.onnx is not a model that tensorrt can run \(.*\); export it again"):
        make_plain(path, tmp_path)
