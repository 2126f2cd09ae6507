import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deploy_prune.errors import InputError
from deploy_prune.latency.sampling import sample_widths
from deploy_prune.latency.sizes import AffineSize, SizeDecoder


def every(variants):
    return np.arange(len(variants))


def test_hand_worked_size_is_decoded():
    variants = [{"a": a, "b": b} for a, b in [(8, 16), (16, 8), (24, 24), (32, 8), (8, 32)]]
    sizes = np.array([100 * v["a"] + 25 * v["b"] + 300 for v in variants])
    found = SizeDecoder(variants, ("a", "b")).decode(sizes, every(variants))
    assert found == AffineSize(300.0, {"a": 100.0, "b": 25.0}, block=1, exact=True)
    assert found.at({"a": 10, "b": 10}) == 1550


def test_constant_size_depends_on_no_group():
    variants = [{"a": a} for a in (8, 16, 24)]
    found = SizeDecoder(variants, ("a",)).decode(np.array([77, 77, 77]), every(variants))
    assert found == AffineSize(77.0, {})


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 6))
def test_planted_coefficients_come_back_from_fewer_variants_than_groups(seed, terms):
    rng = np.random.default_rng(seed)
    groups = [f"g{k}" for k in range(60)]
    menu = {g: tuple(range(8, int(rng.choice([64, 128, 256])) + 1, 8)) for g in groups}
    variants = sample_widths(menu, 36, seed=seed)
    area = int(rng.choice([25, 100, 400, 1600]))
    planted = {g: float(area * rng.integers(1, 3)) for g in sorted(rng.choice(groups, terms, replace=False))}
    sizes = np.array([area + sum(int(c) * v[g] for g, c in planted.items()) for v in variants])
    found = SizeDecoder(variants, groups).decode(sizes, every(variants))
    assert found.exact
    assert found.constant == area
    assert dict(sorted(found.coefficients.items())) == dict(sorted(planted.items()))


def test_tensor_padded_to_blocks_of_16_is_affine_in_padded_widths():
    variants = sample_widths({"a": range(4, 65, 4), "b": range(4, 65, 4)}, 12, seed=1)
    sizes = np.array([10 * (-(-v["a"] // 16) * 16) for v in variants])
    found = SizeDecoder(variants, ("a", "b")).decode(sizes, every(variants))
    assert found == AffineSize(0.0, {"a": 10.0}, block=16)
    assert found.at({"a": 17, "b": 1}) == 320


def test_concatenation_padded_as_a_whole_follows_the_unpadded_one():
    variants = sample_widths({"a": range(4, 129, 4), "b": range(4, 129, 4)}, 20, seed=2)
    plain = np.array([9 * (v["a"] + v["b"]) for v in variants])
    padded = np.array([9 * (-(-(v["a"] + v["b"]) // 16) * 16) for v in variants])
    decoder = SizeDecoder(variants, ("a", "b"))
    assert not decoder.decode(padded, every(variants)).exact
    decoder.decode(plain, every(variants))
    found = decoder.decode_near(padded, every(variants))
    assert not found.exact
    assert found.coefficients["a"] == pytest.approx(9, rel=0.1)
    assert found.at({"a": 64, "b": 64}) == pytest.approx(9 * 128, rel=0.1)


def test_size_that_is_no_affine_function_is_its_mean_and_says_so():
    variants = sample_widths({"a": range(8, 129, 8), "b": range(8, 129, 8)}, 20, seed=3)
    sizes = np.array([v["a"] * v["b"] for v in variants])
    decoder = SizeDecoder(variants, ("a", "b"))
    decoder.decode(np.array([v["a"] for v in variants]), every(variants))
    found = decoder.decode_near(sizes, every(variants))
    assert found == AffineSize(float(sizes.mean()), {}, exact=False)


def test_as_many_unknowns_as_observations_prove_nothing():
    variants = [{"a": 8, "b": 16}, {"a": 16, "b": 8}, {"a": 24, "b": 40}]
    sizes = np.array([8 + 16, 16 + 8, 24 + 40])
    assert not SizeDecoder(variants, ("a", "b")).decode(sizes, every(variants)).exact


def test_variant_without_a_group_is_refused():
    with pytest.raises(InputError, match="variant 1 gives no width for group 'b'; give all 2"):
        SizeDecoder([{"a": 1, "b": 2}, {"a": 1}], ("a", "b"))
