"""The engines that profiles can name, and what each of them can do."""

from __future__ import annotations

import dataclasses
import functools
import importlib.metadata
import importlib.util
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True)
class EngineFacts:
    """An engine as profiles may ask for it.

    ``files`` are the suffixes of the models that it reads; ``modes`` the ways of running that a profile must choose
    from, if there are any; ``layers_on`` are the devices on which it times its own nodes, without which models can be
    measured but not searched. ``install_on`` says how to get it for a device where that is another package.
    """

    package: str
    install: str
    files: tuple[str, ...]
    devices: tuple[str, ...]
    precisions: tuple[str, ...]
    modes: tuple[str, ...] = ()
    spins: bool = False
    layers_on: tuple[str, ...] = ("cpu", "cuda")
    install_on: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def installed(self) -> bool:
        """Whether this Python can import the package."""
        return importlib.util.find_spec(self.package) is not None

    @functools.cached_property
    def version(self) -> str | None:
        """Version of the installed distribution that brings the package; None where there is none."""
        names = importlib.metadata.packages_distributions().get(self.package, [])
        return importlib.metadata.version(names[0]) if names else None


ENGINES = {
    "onnxruntime": EngineFacts(
        package="onnxruntime",
        install="pip install 'deploy_prune[onnx]'",
        files=(".onnx",),
        devices=("cpu", "cuda"),
        precisions=("fp32", "fp16", "int8"),
        spins=True,
        layers_on=("cpu",),
        install_on={"cuda": "pip install 'deploy_prune[onnx-cuda]', without onnxruntime beside it"},
    ),
    "openvino": EngineFacts(
        package="openvino",
        install="pip install 'deploy_prune[openvino]'",
        files=(".onnx", ".xml"),
        devices=("cpu",),
        precisions=("fp32", "bf16", "fp16", "int8"),
    ),
    "torch": EngineFacts(
        package="torch",
        install="pip install torch",
        files=(".pt2",),
        devices=("cpu", "cuda"),
        precisions=("fp32", "bf16", "fp16"),
        modes=("eager", "compile", "cuda_graph"),
        spins=True,
        layers_on=(),
    ),
    "tensorrt": EngineFacts(
        package="tensorrt",
        install="pip install 'deploy_prune[tensorrt]'",
        files=(".onnx",),
        devices=("cuda",),
        precisions=("fp32", "fp16", "int8"),
        modes=("trtexec", "python"),
    ),
}
