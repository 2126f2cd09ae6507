"""Files of the precision that a profile computes in, so that a search measures what will be delivered."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection
from pathlib import Path

from torch import Tensor, nn

from deploy_prune.export.float16 import convert_float16
from deploy_prune.export.int8 import ARM, TENSORRT, X86, X86_WITHOUT_VNNI, Scheme, quantise_static
from deploy_prune.hardware.profile import HardwareProfile
from deploy_prune.runtime.hosts import find_host

Export = Callable[[nn.Module, Path], Path]
VARIANT_INPUTS = 2
"""Inputs that a variant's ranges are found on: they decide its accuracy, which is not asked for, and not its time."""


def find_scheme(profile: HardwareProfile) -> Scheme:
    """The integers for which a profile's engine has kernels on its machine."""
    if profile.engine == "tensorrt":
        return TENSORRT
    machine = find_host(profile).machine
    if machine.architecture not in ("x86_64", "AMD64"):
        return ARM
    return X86 if any("vnni" in flag for flag in machine.flags) else X86_WITHOUT_VNNI


def precise_export(
    export: Export, profile: HardwareProfile, inputs: Callable[[], Tensor], *, keep: Collection[str] | None = None
) -> Export:
    """``export``, followed by what makes the file one of the profile's ``file_precision``.

    Args:
        export: ``export(module, path) -> path`` of an ONNX file in float32.
        profile: the device.
        inputs: called once, and only for INT8: the inputs (n, ...) by which ranges are found.
        keep: nodes that INT8 leaves float; None: those of ``quantise_static``.
    """
    if profile.file_precision == "fp32":
        return export
    inputs = functools.cache(inputs)

    def write(module: nn.Module, path: Path) -> Path:
        written = export(module, path)
        if profile.file_precision == "fp16":
            return convert_float16(written, written)
        return quantise_static(written, written, inputs(), scheme=find_scheme(profile), keep=keep)

    return write
