"""From node names to layers."""

import pytest
from torch import nn

from deploy_prune.pipeline.layers import OUTSIDE, LayerNames
from deploy_prune.report.result import LayerTime
from deploy_prune.runtime.nodes import NodeTime


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 1)
        self.bn = nn.BatchNorm2d(4)
        self.act = nn.SiLU()


class Net(nn.Module):
    """Two residual blocks in a container, then a head: the shapes of names that exporters write."""

    def __init__(self):
        super().__init__()
        self.stem = Block()
        self.layer1 = nn.Sequential(nn.ModuleDict({"cv1": Block(), "cv2": Block(), "relu": nn.ReLU()}))
        self.fc = nn.Linear(4, 2)


@pytest.mark.parametrize(
    ("node", "layer"),
    [
        ("/stem/conv/Conv", "stem"),
        ("/stem/act/Mul", "stem"),
        ("/layer1/layer1.0/cv1/conv/Conv", "layer1.0.cv1"),  # the container's own call stands in the name
        ("/layer1.0/cv2/conv/Conv", "layer1.0.cv2"),  # the container was indexed, not called
        ("/layer1/layer1.0/relu/Relu", "layer1.0.relu"),
        ("/layer1/layer1.0/Add", "layer1.0"),
        ("/fc/Gemm", "fc"),
        ("ReorderInput(/layer1.0/cv2/conv/Conv)#2", "layer1.0.cv2"),
        ("/Concat_3", OUTSIDE),
        ("images", OUTSIDE),
        ("/elsewhere/Conv", OUTSIDE),
    ],
)
def test_a_node_belongs_to_the_largest_module_with_one_weight(node, layer):
    assert LayerNames(Net()).layer(node) == layer


def node(name, time_s):
    return NodeTime(name, "Conv", (), (), 0, 0, time_s)


def test_times_are_summed_per_layer_in_order_of_execution():
    names = LayerNames(Net())
    dense = [node("/stem/conv/Conv", 2e-3), node("/stem/act/Mul", 1e-3), node("/fc/Gemm", 5e-4)]
    pruned = [node("/stem/conv/Conv", 1e-3), node("/Concat", 1e-4)]
    times = [
        LayerTime("stem", 3.0, 1.0), LayerTime("fc", 0.5, 0.0), LayerTime(OUTSIDE, 0.0, 0.1),
    ]  # fmt: skip
    found = names.layer_times(dense, pruned)
    assert [layer.name for layer in found] == [layer.name for layer in times]
    assert [layer.dense_ms for layer in found] == pytest.approx([layer.dense_ms for layer in times])
    assert [layer.pruned_ms for layer in found] == pytest.approx([layer.pruned_ms for layer in times])
