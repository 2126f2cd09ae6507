"""How often the interval of a comparison holds the truth, on this machine as busy as it is.

A network is compared with itself, where the true ratio is 1. Each comparison's rounds are judged in two ways: by
Student's t interval over the pairs of workers, as the package does, and by resampling all rounds alike, as it did
before. A 95 % interval should hold 1 in 19 of 20 comparisons.

    python benchmarks/null_coverage.py [--profile cpu-openvino] [--comparisons 20] [--json FILE]
    python benchmarks/null_coverage.py --simulate

The file is added to: what an earlier call found counts too. The simulation draws the pairs' true ratios with a standard
deviation of 0.5 % and five rounds in each with 1 %, which is what machines gave, and also resamples whole pairs.
"""

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
import torch
from scipy import stats
from torch import nn

from deploy_prune.export.onnx import export_onnx
from deploy_prune.hardware.profile import DEFAULT_PROFILE, HardwareProfile, load_profile
from deploy_prune.runtime.comparison import estimate_ratio
from deploy_prune.runtime.measure import compare

LIMITS = {"warm_up_max_s": 1.0, "max_s": 3.0}
RESAMPLES = 1000
SIMULATIONS = 2000


def build_network() -> nn.Module:
    """Some convolutions, about a millisecond on one core."""
    torch.manual_seed(0)
    layers: list[nn.Module] = [nn.Conv2d(3, 32, 3, stride=2, padding=1)]
    for _ in range(4):
        layers += [nn.ReLU(), nn.Conv2d(32, 32, 3, padding=1)]
    return nn.Sequential(*layers)


def null_pairs(model: Path, profile: HardwareProfile) -> list[list[float]]:
    """Ratios of the model over itself: per pair of workers, per round."""
    return [list(ratios) for ratios in compare(model, model, profile).pairs]


def resampled_rounds(pairs: list[list[float]]) -> tuple[float, float]:
    """The bootstrap interval of the median over all rounds, as if they were independent."""
    ratios = np.concatenate([np.asarray(pair) for pair in pairs])
    interval = stats.bootstrap((ratios,), np.median, n_resamples=RESAMPLES, method="percentile", random_state=0)
    return float(interval.confidence_interval.low), float(interval.confidence_interval.high)


def resampled_pairs(pairs: list[list[float]]) -> tuple[float, float]:
    """The bootstrap interval of the mean over the pairs, each by its median."""
    medians = np.array([np.median(pair) for pair in pairs])
    interval = stats.bootstrap((medians,), np.mean, n_resamples=RESAMPLES, method="percentile", random_state=0)
    return float(interval.confidence_interval.low), float(interval.confidence_interval.high)


def simulate() -> None:
    """Coverage of the three intervals where the truth is known and the noise is normal."""
    random = np.random.default_rng(0)
    for count in (3, 6):
        found = []
        for _ in range(SIMULATIONS):
            of_pair = random.normal(0, 0.005, (count, 1))
            found.append(np.exp(of_pair + random.normal(0, 0.01, (count, 5))).tolist())
        print(f"{count} pairs")
        print(describe("t interval over pairs", [estimate_ratio(pairs)[1:] for pairs in found]))
        print(describe("all rounds resampled", [resampled_rounds(pairs) for pairs in found]))
        print(describe("pairs resampled", [resampled_pairs(pairs) for pairs in found]))


def describe(name: str, intervals: list[tuple[float, float]]) -> str:
    """How many intervals hold 1, and how wide they are."""
    held = sum(low <= 1 <= high for low, high in intervals)
    width = float(np.median([high - low for low, high in intervals]))
    return f"{name:22} {held} of {len(intervals)} ({held / len(intervals):.0%}) hold 1, median width {width:.2%}"


def main() -> None:
    """Compare, and judge in both ways."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--profile", default=DEFAULT_PROFILE)
    parser.add_argument("--comparisons", type=int, default=20)
    parser.add_argument("--json", type=Path, help="keep the ratios here, and go on from what is there")
    parser.add_argument("--simulate", action="store_true", help="draw rounds instead of measuring them")
    arguments = parser.parse_args()
    if arguments.simulate:
        simulate()
        return
    profile = load_profile(arguments.profile)
    profile = profile.model_copy(update={"measuring": profile.measuring.model_copy(update=LIMITS)})
    found = json.loads(arguments.json.read_text()) if arguments.json and arguments.json.exists() else []
    with tempfile.TemporaryDirectory() as folder:
        model = export_onnx(build_network(), torch.rand(profile.batch, 3, 128, 128), Path(folder) / "net.onnx")
        for _ in range(arguments.comparisons):
            found.append(null_pairs(model, profile))
            if arguments.json:
                arguments.json.write_text(json.dumps(found))
    print(describe("t interval over pairs", [estimate_ratio(pairs)[1:] for pairs in found]))
    print(describe("all rounds resampled", [resampled_rounds(pairs) for pairs in found]))
    within = np.median([np.std(np.log(pair), ddof=1) for pairs in found for pair in pairs])
    medians = [np.log([np.median(pair) for pair in pairs]) for pairs in found]
    between = np.sqrt(np.mean([np.var(values, ddof=1) for values in medians]))
    print(f"standard deviation of a round within its pair {within:.2%} (median), of the pairs' medians {between:.2%}")


if __name__ == "__main__":
    main()
