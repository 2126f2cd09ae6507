import numpy as np
import pytest

from deploy_prune.errors import InputError
from deploy_prune.latency.model import LatencyModel
from deploy_prune.latency.sample import NodeSample, VariantSample
from deploy_prune.latency.sampling import sample_widths
from deploy_prune.latency.widths import useful_widths


def menu_of(device, step):
    return {g: useful_widths(full, step, full // 8) for g, full in device.full.items()}


def profile(device, widths, noise, seed=0):
    rng = np.random.default_rng(seed)
    return [device.sample(w, rng, noise) for w in widths]


@pytest.fixture(scope="module")
def noisy(planted):
    """A device of 40 groups, a model of it from 32 variants with 2 % noise, and 60 variants it never saw."""
    device = planted(40)
    widths = sample_widths(menu_of(device, 16), 92, seed=3)
    return device, LatencyModel.fit(profile(device, widths[:32], 0.02), device.full), widths[32:]


def test_noise_free_single_layer_is_predicted_by_hand():
    """Time is 1 us + 1 ns per input element x output channel; total twice the node plus 10 us."""
    samples = []
    for a, b in [(64, 64), (8, 64), (64, 8), (32, 16), (16, 48), (24, 24), (40, 8), (48, 56)]:
        node = NodeSample("conv", "Conv", 100 * a, 10 * b, 1e-6 + 1e-9 * a * b)
        samples.append(VariantSample({"a": a, "b": b}, (node,), 2 * node.time_s + 1e-5))
    model = LatencyModel.fit(samples, {"a": 64, "b": 64})
    found = model.predict({"a": 32, "b": 32})
    assert found.nodes["conv"] == pytest.approx(1e-6 + 1e-9 * 32 * 32, rel=1e-3)
    assert found.total_s == pytest.approx(2 * found.nodes["conv"] + 1e-5, rel=1e-2)
    assert model.predict({}).total_s == model.predict({"a": 64, "b": 64}).total_s


def test_unseen_variants_of_a_noisy_staircase_are_predicted(noisy):
    device, model, unseen = noisy
    errors = np.array([model.predict(w).total_s / device.total_s(w) - 1 for w in unseen])
    assert np.median(np.abs(errors)) < 0.012
    assert np.quantile(np.abs(errors), 0.9) < 0.03
    assert model.diagnostics.unsized == model.diagnostics.approximate == model.diagnostics.intermittent == ()


def test_correction_learns_the_steps_of_convolutions(noisy):
    device, model, unseen = noisy
    convolutions = [n for n in model.nodes if n.op == "Conv" and len(n.groups) <= 2]
    corrected, smooth = [], []
    for widths in unseen[:20]:
        truth = device.node_times(widths)
        for node in convolutions:
            i, o = node.sizes_at(widths)
            corrected.append(float(node.time_s(i, o)) / truth[node.name][3] - 1)
            smooth.append(float(node.smooth.at(np.array(i), np.array(o))) / truth[node.name][3] - 1)
    assert np.std(corrected) < 0.8 * np.std(smooth)


def test_standard_deviation_covers_fresh_measurements(noisy):
    device, model, unseen = noisy
    fresh = [sample.total_s for sample in profile(device, unseen, 0.02, seed=99)]
    found = [model.predict(w) for w in unseen]
    scores = np.array([(p.total_s - t) / p.std_s for p, t in zip(found, fresh, strict=True)])
    assert np.mean(np.abs(scores) < 2) >= 0.9
    assert np.mean(np.abs(scores) < 0.25) < 0.6, "the standard deviation is far too wide to be of use"


def test_far_from_all_samples_doubt_is_larger(noisy):
    device, model, unseen = noisy
    narrow = dict.fromkeys(device.full, 8)
    near, far = model.predict(unseen[0]), model.predict(narrow)
    assert far.std_s / far.total_s > near.std_s / near.total_s
    assert min(far.nodes.values()) >= 0


@pytest.mark.parametrize("step", [8, 16])
def test_tables_equal_predict(planted, step):
    device = planted(24)
    menu = menu_of(device, step)
    widths = sample_widths(menu, 40, seed=5)
    model = LatencyModel.fit(profile(device, widths[:28], 0.02), device.full)
    tables = model.tables(menu)
    for chosen in widths:
        assert tables.cost_s(chosen) == pytest.approx(model.predict(chosen).total_s, rel=1e-9)


def test_tables_of_part_of_the_groups_keep_the_others_full(planted):
    device = planted(24)
    menu = menu_of(device, 16)
    model = LatencyModel.fit(profile(device, sample_widths(menu, 24, seed=5), 0.02), device.full)
    part = {g: menu[g] for g in ("g3", "g4", "g9")}
    tables = model.tables(part)
    assert set(tables.widths) == set(part)
    for chosen in sample_widths(part, 10, seed=1):
        assert tables.cost_s(chosen) == pytest.approx(model.predict(chosen).total_s, rel=1e-9)


def test_machine_that_changes_speed_between_variants_is_seen_through(planted):
    device = planted(24)
    widths = sample_widths(menu_of(device, 16), 60, seed=2)
    slowness = np.where(np.arange(30) % 3 == 0, 1.3, 1.0)
    slowness[0] = 1.0
    samples = [
        VariantSample(
            s.widths,
            tuple(NodeSample(n.name, n.op, n.input_numel, n.output_numel, n.time_s * slow) for n in s.nodes),
            s.total_s * slow,
        )
        for s, slow in zip(profile(device, widths[:30], 0.01), slowness, strict=True)
    ]
    model = LatencyModel.fit(samples, device.full)
    errors = [model.predict(w).total_s / device.total_s(w) - 1 for w in widths[30:]]
    assert np.median(np.abs(errors)) < 0.015


def test_timers_dearer_than_the_work_between_nodes_give_a_negative_overhead(planted):
    device = planted(24)
    timer_s = 3e-6
    widths = sample_widths(menu_of(device, 16), 50, seed=4)
    samples = []
    for w in widths[:30]:
        nodes = tuple(NodeSample(n, op, i, o, t + timer_s) for n, (op, i, o, t) in device.node_times(w).items())
        samples.append(VariantSample(w, nodes, sum(n.time_s - timer_s for n in nodes)))
    model = LatencyModel.fit(samples, device.full)
    assert model.calibration.overhead_s == pytest.approx(-timer_s * len(samples[0].nodes), rel=0.4)
    assert model.calibration.scale == pytest.approx(1, abs=0.02)
    errors = [model.predict(w).total_s * 0.95 / (device.total_s(w) - device.overhead_s) - 1 for w in widths[30:]]
    assert np.median(np.abs(errors)) < 0.01


def test_node_of_odd_size_and_node_that_comes_and_goes_are_reported(planted):
    device = planted(12)
    samples = []
    for k, s in enumerate(profile(device, sample_widths(menu_of(device, 16), 20, seed=6), 0.01)):
        odd = NodeSample("scores", "MatMul", 64, s.widths["g0"] * s.widths["g7"], 1e-5)
        extra = (NodeSample(f"r{k}", "Reorder", 64, 64, 1e-6),) if k % 2 else ()
        samples.append(VariantSample(s.widths, (*s.nodes, odd, *extra), s.total_s))
    found = LatencyModel.fit(samples, device.full).diagnostics
    assert found.unsized == ("scores",)
    assert found.intermittent == (f"Reorder after {samples[0].nodes[-2].name}",)
    assert set(found.residual_by_op) == {"Conv", "Sigmoid", "MatMul", "Reorder"}


def test_too_few_variants_are_refused(planted):
    device = planted(12)
    samples = profile(device, sample_widths(menu_of(device, 16), 5), 0.01)
    with pytest.raises(InputError, match="got 5 profiled variants, expected at least 6; profile more"):
        LatencyModel.fit(samples, device.full)


def test_unknown_group_is_refused(noisy):
    _, model, _ = noisy
    with pytest.raises(InputError, match="group 'nose' was not profiled; the model knows 40 groups"):
        model.predict({"nose": 8})
