"""A planted device: a network of known structure whose times follow known rules with steps, noise and
outliers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pytest

from deploy_prune.latency.sample import NodeSample, VariantSample


@dataclass(frozen=True)
class Layer:
    """A convolution from all groups of ``inputs`` to ``output`` at ``area`` pixels, then an activation."""

    inputs: tuple[str, ...]
    output: str
    area: int


@dataclass(frozen=True)
class PlantedDevice:
    full: Mapping[str, int]
    layers: tuple[Layer, ...]
    scale: float = 0.95
    overhead_s: float = 2e-4

    def node_times(self, widths: Mapping[str, int]) -> dict[str, tuple[str, int, int, float]]:
        """Name -> op, input and output elements, true seconds: steps of 16, odd blocks dearer."""
        nodes = {}
        for k, layer in enumerate(self.layers):
            channels = sum(widths[g] for g in layer.inputs)
            out = widths[layer.output]
            blocks = -(-out // 16)
            work = channels * (blocks + 0.25 * (blocks % 2)) * 16 * layer.area
            nodes[f"conv{k}"] = ("Conv", channels * layer.area, out * layer.area, 5e-6 + 2e-11 * 9 * work)
            nodes[f"act{k}"] = (
                "Sigmoid",
                out * layer.area,
                out * layer.area,
                2e-6 + 4e-10 * out * layer.area,
            )
        return nodes

    def total_s(self, widths: Mapping[str, int]) -> float:
        return self.scale * sum(time for *_, time in self.node_times(widths).values()) + self.overhead_s

    def sample(self, widths: Mapping[str, int], rng: np.random.Generator, noise: float) -> VariantSample:
        """A noisy look; one node in a hundred is an outlier, three times too slow."""
        nodes = []
        for name, (op, i, o, time) in self.node_times(widths).items():
            factor = np.exp(noise * rng.standard_normal()) * (3.0 if noise and rng.random() < 0.01 else 1.0)
            nodes.append(NodeSample(name, op, i, o, time * factor))
        total = self.total_s(widths) * np.exp(noise / 2 * rng.standard_normal())
        return VariantSample(dict(widths), tuple(nodes), total)


def _device(groups: int) -> PlantedDevice:
    """A chain; every fourth layer concatenates three groups, every fifth stays in its group."""
    rng = np.random.default_rng(groups)
    names = [f"g{k}" for k in range(groups)]
    full = {name: int(rng.choice([64, 96, 128, 192, 256])) for name in names}
    layers = []
    for k in range(1, groups):
        inputs = tuple(names[max(0, k - 3) : k]) if k % 4 == 0 else (names[k - 1],)
        area = int(400 / 2 ** (4 * k / groups)) * 4
        layers.append(Layer(inputs, names[k], area))
        if k % 5 == 0:
            layers.append(Layer((names[k],), names[k], area))
    return PlantedDevice(full, tuple(layers))


@pytest.fixture(scope="session")
def planted() -> Callable[[int], PlantedDevice]:
    """Makes a planted device of so many groups."""
    return _device
