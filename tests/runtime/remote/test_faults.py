"""What goes wrong on boards: a shell that greets, an engine killed while idle, a file that lost its end."""

import hashlib
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from deploy_prune.errors import MeasurementError
from deploy_prune.runtime.measure import measure
from deploy_prune.runtime.runner import Runner


def test_a_shell_that_greets_before_it_starts_a_command(board, make_model, brief, tmp_path):
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\necho Welcome to the board\necho 42\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    assert measure(make_model(), board.profile(brief, python=str(python))).n >= 20


def test_an_engine_that_is_killed_while_nothing_is_asked_of_it(board, make_model, brief):
    with Runner(make_model(), board.profile(brief)) as runner:
        runner.run(1, 1.0)
        (child,) = [pid for pid in board.processes() if "onnxruntime" in Path(f"/proc/{pid}/maps").read_text()]
        os.kill(child, signal.SIGKILL)
        start = time.monotonic()
        with pytest.raises(MeasurementError, match=r"on board, the measuring process died during 'run' \(signal 9\)"):
            runner.run(1, 1.0)
        assert time.monotonic() - start < 10  # and not when the time for the request is up
    assert board.is_clean()


def test_a_file_that_lost_its_end_on_the_board_is_sent_again(board, make_model, brief):
    model = make_model()
    digest = hashlib.sha256(model.read_bytes()).hexdigest()
    kept = board.cache / "deploy_prune/files" / digest
    kept.parent.mkdir(parents=True)
    kept.write_bytes(model.read_bytes()[:100])
    assert measure(model, board.profile(brief)).n >= 20
    assert kept.read_bytes() == model.read_bytes()
