"""The measuring process: sent as text to the machine that measures, where deploy_prune need not be installed.

Every module here runs on Python 3.8 and needs the standard library and one engine only. ``MODULES`` names them in
the order in which they need each other; the client sends their sources, and the last one's ``main`` runs.
"""

MODULES = (
    *("refusal", "feed", "onnxruntime_engine", "openvino_engine", "torch_engine"),
    *("tensorrt_flags", "tensorrt_reports", "tensorrt_cache", "trtexec_engine", "cuda_runtime", "tensorrt_engine"),
    "process",
)
