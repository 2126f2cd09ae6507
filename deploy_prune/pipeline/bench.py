"""Measure exported models: one alone, or each against the first in a paired comparison."""

from collections.abc import Sequence
from pathlib import Path

from deploy_prune.hardware.profile import HardwareProfile
from deploy_prune.pipeline.summary import flatten_conditions, summarise_comparison, summarise_timing
from deploy_prune.report.bench import BenchEntry, BenchResult
from deploy_prune.runtime.measure import compare, measure
from deploy_prune.runtime.timing import Conditions


def bench_models(models: Sequence[Path], profile: HardwareProfile) -> BenchResult:
    """Measure every model under the profile; the first one is the baseline of the others.

    Raises:
        InputError, MissingDependencyError, MeasurementError: as ``deploy_prune.runtime.measure`` does.
    """
    baseline, *candidates = models
    if not candidates:
        alone = measure(baseline, profile)
        entry = BenchEntry(str(baseline), summarise_timing(alone), None)
        return _result(profile, alone.conditions, [entry], alone.conditions.contention.reasons)
    comparisons = [compare(baseline, candidate, profile) for candidate in candidates]
    entries = [
        BenchEntry(str(candidate), summarise_timing(comparison.candidate), summarise_comparison(comparison))
        for candidate, comparison in zip(candidates, comparisons, strict=True)
    ]
    first = comparisons[0].baseline
    entries.insert(0, BenchEntry(str(baseline), summarise_timing(first), None))
    reasons = [r for c in comparisons for r in c.baseline.conditions.contention.reasons]
    return _result(profile, first.conditions, entries, reasons)


def _result(
    profile: HardwareProfile, conditions: Conditions, entries: Sequence[BenchEntry], reasons: Sequence[str]
) -> BenchResult:
    return BenchResult(profile.name, flatten_conditions(conditions), tuple(entries), tuple(dict.fromkeys(reasons)))
