"""How many variants of a network are profiled: as many as it takes to foresee the next ones, to a limit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from rich.progress import Progress

from deploy_prune.latency.branches import is_whole
from deploy_prune.latency.model import LatencyModel
from deploy_prune.latency.sample import VariantSample
from deploy_prune.pipeline.device import Device
from deploy_prune.search.prunable import Prunable

LEAST = 16
"""Whole variants profiled in any case: fewer leave sizes of nodes undecoded (docs/tables.md has the figures)."""
BATCH = 4
"""Variants that are foreseen before they count."""
FORESEEN = 0.02
"""Mean error of the totals of a batch, as a share, at which no more variants are needed."""


def profile_variants(
    prunable: Prunable, variants: Sequence[Mapping[str, int]], device: Device, progress: Progress | None = None
) -> list[VariantSample]:
    """Measure variants in order, until a model fitted to the earlier ones foresees the latest.

    What the store holds is not measured again, so that an interrupted run goes on. Variants that lack a branch are all
    measured: each tells what goes with it.
    """
    whole = [widths for widths in variants if is_whole(widths)]
    cut = [widths for widths in variants if not is_whole(widths)]
    bar = progress.add_task("profile variants", total=len(variants)) if progress else None
    samples: list[VariantSample] = []

    def take(widths: Mapping[str, int]) -> None:
        samples.append(device.profile_widths(prunable, widths))
        if progress and bar is not None:
            progress.advance(bar)

    for widths in whole:
        if is_foreseen(samples, prunable.full_widths):
            break
        take(widths)
    if progress and bar is not None:
        progress.update(bar, total=len(samples) + len(cut))
    for widths in cut:
        take(widths)
    return samples


def is_foreseen(samples: Sequence[VariantSample], full_widths: Mapping[str, int]) -> bool:
    """Whether the last batch of whole variants, the others being known, was foreseen to ``FORESEEN``.

    Asked at the end of each batch from ``LEAST`` variants on; in between the answer is no.
    """
    if len(samples) < LEAST or (len(samples) - LEAST) % BATCH:
        return False
    model = LatencyModel.fit(samples[:-BATCH], full_widths)
    errors = [model.predict(sample.widths).total_s / sample.total_s - 1 for sample in samples[-BATCH:]]
    return float(np.mean(np.abs(errors))) <= FORESEEN
