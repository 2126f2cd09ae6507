"""Real files, real workers: what a measurement holds and what is refused. No durations are asserted."""

import dataclasses
import json
import tempfile

import pytest

from deploy_prune.errors import InputError
from deploy_prune.runtime.comparison import Comparison
from deploy_prune.runtime.measure import compare, measure, profile_nodes
from deploy_prune.runtime.nodes import NodeProfile
from deploy_prune.runtime.timing import Timing


def through_json(value):
    return type(value).from_dict(json.loads(json.dumps(value.to_dict())))


def without_samples(profile):
    """What a profile keeps in JSON: raw samples of nodes have a place of their own."""
    return dataclasses.replace(profile, nodes=tuple(dataclasses.replace(n, samples_s=()) for n in profile.nodes))


def test_measure_keeps_raw_samples_and_conditions(make_model, brief):
    timing = measure(make_model(), brief)
    assert timing.n == len(timing.samples_s) == len(timing.waits_s) >= 20
    assert all(s > 0 for s in timing.samples_s) and all(w >= 0 for w in timing.waits_s)
    assert timing.stop_reason in {"interval", "time limit"}
    low, high = timing.ci
    assert low <= timing.median_s <= high <= timing.p99_s
    conditions = timing.conditions
    assert conditions.inputs == ("float32[1, 3, 16, 16]",)
    assert (conditions.threads, conditions.spinning, conditions.precision, conditions.batch) == (
        1,
        False,
        "fp32",
        1,
    )
    assert conditions.provider == "CPUExecutionProvider"
    assert conditions.engine_version[0].isdigit() and conditions.contention.duration_s > 0
    assert isinstance(timing, Timing) and through_json(timing) == timing


def test_compare_sees_the_larger_model_as_slower(make_model, brief):
    comparison = compare(make_model(16, size=32), make_model(128, size=32), brief, rounds=5)
    assert [len(ratios) for ratios in comparison.pairs] == [5, 5]
    assert len(comparison.round_ratios) == 10 and comparison.baseline.stop_reason == "rounds"
    assert comparison.low <= comparison.speedup <= comparison.high
    assert all(ratio < 1 for ratio in comparison.round_ratios)  # whichever of the two was started first
    assert comparison.verdict == "slower"  # 40 times the multiplications
    assert comparison.noise is None and comparison.tolerance == brief.measuring.ci_width
    assert isinstance(comparison, Comparison) and through_json(comparison) == comparison


def test_null_test_sets_the_tolerance(make_model, brief):
    comparison = compare(make_model(), make_model(), brief, rounds=4, null_test=True)
    assert comparison.noise is not None and comparison.noise >= 0
    assert comparison.tolerance == comparison.noise


def test_unlike_inputs_are_not_compared(make_model, brief):
    with pytest.raises(InputError) as caught:
        compare(make_model(size=16), make_model(size=32), brief)
    assert str(caught.value) == (
        "these timings cannot be compared, their conditions differ in inputs (('float32[1, 3, 16, 16]',) and "
        "('float32[1, 3, 32, 32]',)); measure both models under one profile on one machine"
    )


def test_node_times_are_in_order_with_shapes_and_sizes(make_model, brief, tmp_path, monkeypatch):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    monkeypatch.setattr(tempfile, "tempdir", None)
    profile = profile_nodes(make_model(32), brief)
    nodes = {node.name: node for node in profile.nodes}
    assert [n.name for n in profile.nodes if "Reorder" not in n.op] == [
        "/conv1/Conv",
        "/conv2/Conv",
        "/pool",
        "/Flatten",
        "/fc/Gemm",
    ]
    assert nodes["/conv1/Conv"].input_numel == 3 * 16 * 16
    assert nodes["/conv1/Conv"].output_numel == 32 * 16 * 16
    # the residual that is added on the way out is no input of the convolution itself
    assert nodes["/conv2/Conv"].input_numel == 32 * 16 * 16
    assert nodes["/conv2/Conv"].input_shapes[1] == (32, 32, 3, 3)
    assert nodes["/pool"].input_numel == 32 * 16 * 16 and nodes["/pool"].output_numel == 32
    assert nodes["/fc/Gemm"].input_numel == 32 and nodes["/fc/Gemm"].output_numel == 10
    assert all(node.time_s >= 0 for node in profile.nodes) and profile.nodes_s > 0
    assert profile.profiled_s > 0 and profile.timing.n >= 20
    assert profile.reference_s is None
    assert all(len(node.samples_s) >= 20 for node in profile.nodes)
    assert nodes["/conv2/Conv"].operator.fused == ("Add", "Relu")
    assert list(scratch.glob("deploy-prune-*")) == []
    assert isinstance(profile, NodeProfile) and through_json(profile) == without_samples(profile)


def test_a_reference_takes_turns_with_the_profiled_model(make_model, brief):
    profile = profile_nodes(make_model(8, size=8), brief, reference=make_model(128, size=32))
    assert profile.reference_s > profile.timing.median_s  # some thousand times the multiplications
    assert through_json(profile) == without_samples(profile)
