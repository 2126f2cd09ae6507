"""Measuring over a real ssh connection: as here, whatever is cut, and one clear line for what cannot be."""

import hashlib
import logging

import onnx
import pytest

from deploy_prune.errors import ConnectionLostError, InputError, MeasurementError, MissingDependencyError
from deploy_prune.hardware.machine import detect_machine
from deploy_prune.runtime import remote
from deploy_prune.runtime.hosts import find_host
from deploy_prune.runtime.measure import compare, measure, profile_nodes
from deploy_prune.runtime.runner import Runner
from deploy_prune.runtime.timing import require_alike


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def big_model(make_model, tmp_path):
    """A megabyte, most of it in a text that nothing reads."""
    model = onnx.load(make_model())
    model.doc_string = "".join(hashlib.sha256(str(k).encode()).hexdigest() for k in range(16000))
    onnx.save(model, tmp_path / "big.onnx")
    return tmp_path / "big.onnx"


def test_a_measurement_is_taken_under_the_conditions_of_one_here(board, make_model, brief):
    there, here = measure(make_model(), board.profile(brief)), measure(make_model(), brief)
    require_alike(there.conditions, here.conditions)
    assert there.n >= 20
    assert board.files == [digest(make_model())]
    assert board.is_clean()


def test_models_are_compared_and_profiled_there_and_none_is_sent_twice(board, make_model, brief):
    narrow, wide = make_model(16), make_model(32)
    assert compare(wide, narrow, board.profile(brief), rounds=3).speedup > 1
    sent = board.cable.sent_bytes
    nodes = profile_nodes(wide, board.profile(brief), reference=narrow).nodes
    assert [node.op for node in nodes if node.op in ("Conv", "FusedConv")]
    assert board.files == sorted([digest(narrow), digest(wide)])
    assert board.is_clean()
    assert sent > 0


def test_the_machine_is_known_before_anything_is_measured(board, brief):
    host = find_host(board.profile(brief))
    assert host.machine.fingerprint == detect_machine().fingerprint
    assert "onnxruntime" in host.engines


def test_a_connection_cut_in_an_upload_goes_on_where_it_was(board, big_model, brief, caplog):
    profile = board.profile(brief)
    find_host(profile)
    board.cable.sent_bytes = 0
    board.cable.cut_after(900_000)  # the worker's source, its requests and half of the model
    with caplog.at_level(logging.WARNING):
        assert measure(big_model, profile).n >= 20
    assert "the connection to board was lost during 'put'" in caplog.text
    assert board.files == [digest(big_model)]
    whole = 4 / 3 * big_model.stat().st_size  # as base64
    assert board.cable.sent_bytes < 900_000 + whole  # less than all of it once more
    assert board.is_clean()


def test_a_connection_cut_while_it_measures_loses_that_measurement_alone(board, make_model, brief, caplog, monkeypatch):
    calls, run = [], Runner.run

    def run_and_cut(runner, *arguments):
        calls.append(runner)
        if len(calls) == 12:
            board.cable.cut()
        return run(runner, *arguments)

    monkeypatch.setattr(Runner, "run", run_and_cut)
    with caplog.at_level(logging.WARNING):
        comparison = compare(make_model(32), make_model(16), board.profile(brief), rounds=3)
    assert [len(ratios) for ratios in comparison.pairs] == [3, 3]
    assert "the connection to board was lost during 'run'" in caplog.text
    assert board.is_clean()


def test_a_board_that_restarts_is_waited_for(board, make_model, brief, caplog, monkeypatch):
    calls, run = [], Runner.run

    def run_and_restart(runner, *arguments):
        calls.append(runner)
        if len(calls) == 2:
            board.cable.go_away(0.25)
        return run(runner, *arguments)

    monkeypatch.setattr(Runner, "run", run_and_restart)
    with caplog.at_level(logging.WARNING):
        assert measure(make_model(), board.profile(brief)).n >= 20
    assert "no ssh server answers there: is the board on, and sshd running? (ssh: connect to host" in caplog.text
    assert board.is_clean()


@pytest.mark.parametrize("count", [0, 1, 5_000, 60_000])
def test_cut_at_any_byte_while_it_starts(board, make_model, brief, count):
    profile = board.profile(brief)
    board.cable.cut_after(count)
    assert measure(make_model(), profile).n >= 20
    assert board.is_clean()


def test_a_board_that_stays_away_is_given_up(board, make_model, brief):
    with Runner(make_model(), board.profile(brief)) as runner:
        board.cable.close()
        with pytest.raises(ConnectionLostError, match="the connection to board was lost during 'run'"):
            runner.run(1, 1.0)
    with pytest.raises(MeasurementError, match="cannot connect to board: no ssh server answers there"):
        measure(make_model(), board.profile(brief))


def test_an_unknown_host_key(board, make_model, brief, tmp_path):
    (tmp_path / "known_hosts").write_text("")
    with pytest.raises(
        MeasurementError, match="cannot connect to board: its key is not the known one: run `ssh board`"
    ):
        measure(make_model(), board.profile(brief))


def test_a_changed_host_key(board, make_model, brief, tmp_path):
    other = (tmp_path / "known_hosts").read_text().split()
    other[2] = other[2][:-4] + "AAAA"
    (tmp_path / "known_hosts").write_text(" ".join(other) + "\n")
    with pytest.raises(MeasurementError, match="cannot connect to board: its key is not the known one"):
        measure(make_model(), board.profile(brief))


def test_a_user_without_a_key(board, make_model, brief, tmp_path):
    (tmp_path / "user_key").unlink()
    with pytest.raises(MeasurementError, match="takes none of this user's keys: set up key login with `ssh-copy-id"):
        measure(make_model(), board.profile(brief))


def test_a_board_without_that_python(board, make_model, brief):
    with pytest.raises(MeasurementError, match=r"board has no /opt/python9 \(.*\); name its Python under 'python'"):
        measure(make_model(), board.profile(brief, python="/opt/python9"))


def test_an_engine_that_is_not_there(board, make_model, brief):
    profile = board.profile(brief, engine="openvino", environment={"PYTHONPATH": "/nowhere"}, python="/usr/bin/python3")
    with pytest.raises(
        MissingDependencyError, match="openvino is not installed: install it on board for /usr/bin/python3"
    ):
        measure(make_model(), profile)


def test_a_command_that_hangs(board, make_model, brief, tmp_path, monkeypatch):
    hanging = tmp_path / "python"
    hanging.write_text("#!/bin/sh\nexec sleep 10\n")  # no worker yet that would end with the connection
    hanging.chmod(0o755)
    monkeypatch.setattr(remote, "START_TIMEOUT_S", 1.0)
    with pytest.raises(MeasurementError, match=r"did not answer 'hello' within 1 s and was ended"):
        measure(make_model(), board.profile(brief, python=str(hanging)))


def test_a_host_that_is_an_option_is_refused(board, make_model, brief):
    with pytest.raises(InputError, match="a profile's 'host' is what follows `ssh`, such as user@board, got '-oProxy"):
        measure(make_model(), board.profile(brief, host="-oProxyCommand=true"))
