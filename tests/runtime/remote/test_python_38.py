"""The oldest Python and the oldest ONNX Runtime that a board may have, behind a real ssh.

Opt-in, since ONNX Runtime 1.19.2 is the last for Python 3.8 (that of JetPack 5) and has to be installed for it:

    python3.8 -m venv FOLDER && FOLDER/bin/pip install onnxruntime==1.19.2
    DEPLOY_PRUNE_PYTHON_38=FOLDER/bin/python python -m pytest tests/runtime/remote/test_python_38.py
"""

import os

import pytest

from deploy_prune.runtime.hosts import find_host
from deploy_prune.runtime.measure import compare, measure, profile_nodes

PYTHON = os.environ.get("DEPLOY_PRUNE_PYTHON_38")
pytestmark = [
    pytest.mark.python_38,
    pytest.mark.skipif(PYTHON is None, reason="set DEPLOY_PRUNE_PYTHON_38: see tests/runtime/remote/test_python_38.py"),
]


@pytest.fixture
def old(board, brief):
    """The ssh board's profile with the old Python, which sees nothing of this one's."""
    return board.profile(brief, python=PYTHON)


def test_it_is_what_it_says(old):
    host = find_host(old)
    assert (host.python.split(".")[:2], host.engines["onnxruntime"]) == (["3", "8"], "1.19.2")


def test_a_model_is_measured_and_compared_and_nothing_is_left(old, board, make_model):
    timing = measure(make_model(), old)
    assert timing.n >= 20 and timing.conditions.engine_version == "1.19.2"
    assert compare(make_model(32), make_model(8), old, rounds=2).speedup > 1
    assert board.is_clean()


def test_nodes_are_those_of_the_file_as_here(old, make_model, brief):
    there, here = (profile_nodes(make_model(), profile).nodes for profile in (old, brief))
    assert [node.name for node in there] == [node.name for node in here]
