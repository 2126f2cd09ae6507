"""FP16 versions of an exported file, whose inputs and outputs stay float32."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from deploy_prune.errors import ExportError, MissingDependencyError
from deploy_prune.export.onnx import rewrite_onnx


def convert_float16(source: Path, target: Path) -> Path:
    """Write ``source`` with weights and arithmetic in float16, with a cast behind each input and before each output.

    Operators that ONNX defines for float32 alone, or that engines do not have in float16, keep it; the converter knows
    them. On most CPUs such a file is slower than FP32: it is for GPUs, and for its size.

    Raises:
        ExportError: the file cannot be converted.
        MissingDependencyError: onnx or onnxruntime is not installed.
    """
    try:
        from onnxruntime.transformers.float16 import convert_float_to_float16
    except ImportError as error:
        raise MissingDependencyError(f"FP16 needs {error.name}; run: pip install 'deploy_prune[onnx]'") from error

    def convert(model: Any) -> Any:
        try:
            return convert_float_to_float16(model, keep_io_types=True)
        except Exception as error:
            reason = str(error).strip().split("\n")[0] or type(error).__name__
            raise ExportError(f"ONNX Runtime cannot convert {source.name} to float16: {reason}") from error

    return rewrite_onnx(source, target, convert)
