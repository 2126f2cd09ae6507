"""The measuring process: sent as text to the machine that measures, where deploy_prune need not be installed.

Every module here runs on Python 3.8 and needs the standard library and one engine only. The names are in the order in
which the modules need each other; the client sends their sources, and the last one's ``main`` runs. ``MODULES`` make
the process that holds a model. ``BOARD_MODULES`` come on top on another machine, or where clocks are to be set:
``relay`` is then the process that the client talks to, and it starts the others.
"""

MODULES = (
    *("bootstrap", "refusal", "feed", "sensors", "onnxruntime_engine", "openvino_engine", "torch_engine"),
    *("tensorrt_flags", "tensorrt_reports", "tensorrt_cache", "trtexec_engine", "cuda_runtime", "tensorrt_engine"),
    "process",
)
BOARD_MODULES = ("files", "power", "guard", "readings", "session", "relay")
