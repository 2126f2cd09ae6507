"""Pictures of groups, against the text worked out by hand."""

import dataclasses
from pathlib import Path

import pytest

from deploy_prune.errors import InputError
from deploy_prune.report.inspection import FrozenEntry, GroupEntry, Inspection, LayerEntry, Member, OutputChannels
from deploy_prune.report.picture import Frame, arrange, drawer


def member(layer, does=""):
    return Member(layer, ("weight[0]",), "makes" in does, "uses" in does)


def group(name, share, *members, kind="channels"):
    return GroupEntry(name, kind, 4, 1, 0, 0, share, 0.0, members, ())


@pytest.fixture
def residual():
    """a and c make one group, used by b, d and head; b makes what c uses; d makes what nobody uses."""
    stem = group(
        "a", 0.5, member("a", "makes"), member("norm"), member("b", "uses"), member("c", "makes"), member("d", "uses"),
        member("head", "uses"),
    )  # fmt: skip
    heads = group("a:heads", 0.5, member("a", "makes"), kind="heads")
    output = FrozenEntry("head", 10, 'reaches the "output"', "", "output", "", (member("head", "makes"),))
    image = FrozenEntry("a", 3, "is multiplied", "a", "convolution", "", (member("a", "uses"),))
    layers = tuple(LayerEntry(name, "Conv2d", 0, 0) for name in ("a", "norm", "b", "c", "d", "head"))
    inner = group("b", 0.25, member("b", "makes"), member("c", "uses"))
    return Inspection("m", 0, 0, 0, OutputChannels(0, 0, 0), layers, (stem, inner, heads), (image, output), {}, ())


def test_frames_and_arrows(residual):
    picture = arrange(residual)
    assert picture.frames == (
        Frame("a: 4 channels, 50.0% of MACs", False, ("a", "c")),
        Frame("b: 4 channels, 25.0% of MACs", False, ("b",)),
        Frame('head: 10 channels stay, reaches the "output"', True, ("head",)),
        Frame("other layers", True, ("d",)),
    )
    # b uses what a made; d what c added since; nothing was made between d and the head, which uses the same.
    assert picture.arrows == (("a", "b"), ("b", "c"), ("c", "d"), ("c", "head"))


def test_several_makers_before_the_first_use(residual):
    both = group("a", 0.5, member("a", "makes"), member("c", "makes"), member("head", "uses"))
    assert arrange(dataclasses.replace(residual, groups=(both,))).arrows == (("a", "head"), ("c", "head"))


def test_a_layer_that_uses_what_it_makes_itself(residual):
    """A depthwise convolution hands on what it got; a recurrent layer is no arrow to itself."""
    depthwise = group(
        "a", 0.5, member("a", "makes"), member("b", "makes uses"), member("c", "uses"), member("d", "uses")
    )
    recurrent = group("d", 0.5, member("d", "makes uses"))
    picture = arrange(dataclasses.replace(residual, groups=(depthwise, recurrent)))
    assert picture.arrows == (("a", "b"), ("b", "c"), ("b", "d"))


def test_mermaid(residual):
    assert drawer(Path("groups.mmd"))(residual) == (
        "flowchart TB\n"
        '  subgraph g0["a: 4 channels, 50.0% of MACs"]\n'
        '    n0["a<br/>Conv2d"]\n'
        '    n1["c<br/>Conv2d"]\n'
        "  end\n"
        '  subgraph g1["b: 4 channels, 25.0% of MACs"]\n'
        '    n2["b<br/>Conv2d"]\n'
        "  end\n"
        '  subgraph g2["head: 10 channels stay, reaches the #quot;output#quot;"]\n'
        '    n3["head<br/>Conv2d"]\n'
        "  end\n"
        '  subgraph g3["other layers"]\n'
        '    n4["d<br/>Conv2d"]\n'
        "  end\n"
        "  n0 --> n2\n  n2 --> n1\n  n1 --> n4\n  n1 --> n3\n"
        "  style g2 stroke-dasharray: 5 5\n"
        "  style g3 stroke-dasharray: 5 5\n"
    )


def test_dot(residual):
    assert drawer(Path("groups.dot"))(residual) == (
        "digraph groups {\n"
        "  node [shape=box];\n"
        '  subgraph cluster_0 { label="a: 4 channels, 50.0% of MACs"; style=rounded;\n'
        '    n0 [label="a\\nConv2d"];\n'
        '    n1 [label="c\\nConv2d"];\n'
        "  }\n"
        '  subgraph cluster_1 { label="b: 4 channels, 25.0% of MACs"; style=rounded;\n'
        '    n2 [label="b\\nConv2d"];\n'
        "  }\n"
        '  subgraph cluster_2 { label="head: 10 channels stay, reaches the \\"output\\""; style=dashed;\n'
        '    n3 [label="head\\nConv2d"];\n'
        "  }\n"
        '  subgraph cluster_3 { label="other layers"; style=dashed;\n'
        '    n4 [label="d\\nConv2d"];\n'
        "  }\n"
        "  n0 -> n2;\n  n2 -> n1;\n  n1 -> n4;\n  n1 -> n3;\n"
        "}\n"
    )


def test_a_format_that_there_is_not():
    with pytest.raises(InputError, match=r"^groups\.svg is no file for a graph; expected \.mmd \(Mermaid\) or \.dot"):
        drawer(Path("groups.svg"))
