"""Measurements for tests."""

from deploy_prune.store import LayerRow, RecordKey

CONV = '["Conv",[["kernel_shape",[3,3]]],["Relu"],[[1,"c_in",20,20]],[[1,"c_out",20,20]]]'
RELU = '["Relu",[],[],[[1,"c_in",20,20]],[[1,"c_out",20,20]]]'


def key(subject="net 1", machine="abc", engine="onnxruntime 1.32.0", kind="variant"):
    return RecordKey(kind, machine, engine, '{"threads": 1, "precision": "fp32", "batch": 1}', subject)


def rows(count=2, width=16):
    """Convolutions of growing widths, the last one a ReLU."""
    convolutions = [
        LayerRow(CONV, width, width * (n + 1), f"/{n}/Conv", 1e-4 * (n + 1), (90_000, 110_000))
        for n in range(count - 1)
    ]
    return (*convolutions, LayerRow(RELU, width, width, "/relu", 1e-6, (1000,)))
