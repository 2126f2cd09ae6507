"""What ssh says, in the words of OpenSSH 9.2, as errors that are waited for or not."""

import pytest

from deploy_prune.errors import ConnectionLostError, MeasurementError, UnreachableHostError
from deploy_prune.hardware.profile import HardwareProfile
from deploy_prune.runtime.ssh import explain_for

EXPLAIN = explain_for(HardwareProfile(name="p", engine="onnxruntime", host="board"))


@pytest.mark.parametrize(
    ("do", "code", "said", "kind"),
    [
        ("hello", 255, "ssh: connect to host board port 22: Connection refused", UnreachableHostError),
        ("hello", 255, "ssh: connect to host board port 22: Connection timed out", UnreachableHostError),
        ("hello", 255, "kex_exchange_identification: read: Connection reset by peer", ConnectionLostError),
        ("start", 255, "Host key verification failed.", MeasurementError),
        ("run", 255, "Read from remote host board: Connection timed out", ConnectionLostError),
        ("put", 255, "Timeout, server board not responding.", ConnectionLostError),
        ("run", -9, "without a word", ConnectionLostError),
        ("hello", 1, "Python 3.8 or newer is needed, this is 3.6.15", MeasurementError),
    ],
)
def test_which_error(do, code, said, kind):
    error = EXPLAIN(do, code, said)
    assert type(error) is kind and said in str(error)
