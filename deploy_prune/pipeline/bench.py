"""Measure exported models under hardware profiles: one alone, or each against the first in a paired comparison."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from deploy_prune.errors import InputError
from deploy_prune.hardware.availability import require_runnable
from deploy_prune.hardware.profile import HardwareProfile
from deploy_prune.pipeline.summary import flatten_conditions, summarise_comparison, summarise_timing
from deploy_prune.report.bench import BenchEntry, ProfileResult
from deploy_prune.report.result import Speedup
from deploy_prune.runtime.comparison import Comparison
from deploy_prune.runtime.hosts import find_host
from deploy_prune.runtime.measure import compare, measure
from deploy_prune.runtime.runner import Runner, require_model
from deploy_prune.runtime.timing import Timing, require_alike

Assignment = Sequence[tuple[HardwareProfile, Sequence[Path]]]


def assign_models(models: Sequence[Path], profiles: Sequence[HardwareProfile]) -> Assignment:
    """Under each profile the models that its engine reads, all of them loaded once, before anything is measured.

    Raises:
        InputError: a file that no profile's engine reads or that is no model, a profile without a model, one that
            cannot run here, two profiles of one name, or models of unlike inputs under one profile.
        MissingDependencyError, MeasurementError: see ``Runner``.
    """
    names = [profile.name for profile in profiles]
    for name in names:
        if names.count(name) > 1:
            raise InputError(
                f"the profile {name!r} is given {names.count(name)} times; give each once, or name it anew"
            )
    for profile in profiles:
        require_runnable(profile, find_host(profile))
    for model in models:
        if not any(_reads(profile, model) for profile in profiles):
            require_model(model, profiles[0])
    assignment = [(profile, [model for model in models if _reads(profile, model)]) for profile in profiles]
    for profile, readable in assignment:
        if not readable:
            wanted = " or ".join(profile.engine_facts.files)
            raise InputError(f"no model for the profile {profile.name!r}: {profile.engine} reads {wanted} files")
        _require_comparable(readable, profile)
    return assignment


def bench_models(
    assignment: Assignment, announce: Callable[[str], None], *, null_test: bool = False
) -> Iterator[ProfileResult]:
    """Measure profile by profile; the first model of each is the baseline of its others.

    Args:
        assignment: see ``assign_models``.
        announce: called with what is about to be measured.
        null_test: also compare each baseline with itself; what that finds is the tolerance of the verdicts.

    Raises:
        InputError, MissingDependencyError, MeasurementError: as ``deploy_prune.runtime.measure`` does.
    """
    for profile, models in assignment:
        announce(f"measuring {len(models)} models under {profile.name}")
        yield _bench_profile(profile, models, null_test)


def _bench_profile(profile: HardwareProfile, models: Sequence[Path], null_test: bool) -> ProfileResult:
    baseline, *candidates = models
    if not candidates:
        alone = measure(baseline, profile)
        return _result(profile, [_entry(baseline, alone, None)], [alone], None)
    comparisons: list[Comparison] = []
    for candidate in candidates:
        comparison = compare(baseline, candidate, profile, null_test=null_test and not comparisons)
        if comparisons and (noise := comparisons[0].noise) is not None:
            comparison = dataclasses.replace(comparison, noise=noise, tolerance=noise)
        comparisons.append(comparison)
    entries = [_entry(baseline, comparisons[0].baseline, None)]
    for candidate, comparison in zip(candidates, comparisons, strict=True):
        entries.append(_entry(candidate, comparison.candidate, summarise_comparison(comparison)))
    return _result(profile, entries, [comparison.baseline for comparison in comparisons], comparisons[0].noise)


def _entry(model: Path, timing: Timing, speedup: Speedup | None) -> BenchEntry:
    samples_ms = tuple(1e3 * sample for sample in timing.samples_s)
    return BenchEntry(str(model), summarise_timing(timing), speedup, timing.stop_reason, samples_ms)


def _result(
    profile: HardwareProfile, entries: Sequence[BenchEntry], timings: Sequence[Timing], noise: float | None
) -> ProfileResult:
    reasons = dict.fromkeys(reason for t in timings for reason in t.conditions.contention.reasons)
    conditions = flatten_conditions(timings[0].conditions)
    return ProfileResult(profile.name, conditions, tuple(entries), noise, tuple(reasons))


def _reads(profile: HardwareProfile, model: Path) -> bool:
    return model.suffix in profile.engine_facts.files


def _require_comparable(models: Sequence[Path], profile: HardwareProfile) -> None:
    """Load every model once: a mistake in the last file is found before the first one is measured."""
    first = None
    for model in models:
        with Runner(model, profile) as runner:
            conditions = runner.conditions()
        first = first or conditions
        require_alike(first, conditions)
