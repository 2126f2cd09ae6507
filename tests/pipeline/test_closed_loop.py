"""The closed loop on a planted device: times by a rule, and plans that run faster than any profile says."""

import itertools
import math
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest

from deploy_prune.errors import UnreachableBudgetError
from deploy_prune.latency.sample import NodeSample, VariantSample
from deploy_prune.latency.sampling import sample_widths
from deploy_prune.pipeline.closed_loop import COARSE, Loop
from deploy_prune.pipeline.latency_budget import Budget
from deploy_prune.pipeline.rounds import LEAST, WINDOW, Round, choose_round
from deploy_prune.search.menu import Menu

FULL = {f"g{k}": 128 for k in range(8)}
AREA = 100


@dataclass
class PlantedDevice:
    """A chain of eight layers; end to end every pruned network takes ``bias`` of what its nodes add up to."""

    bias: float
    profile: SimpleNamespace = field(default_factory=lambda: SimpleNamespace(name="planted"))
    compared: list = field(default_factory=list)

    def total_s(self, widths):
        total = sum(node.time_s for node in self.nodes(widths))
        return total if widths == FULL else self.bias * total

    @property
    def dense_s(self):
        return self.total_s(FULL)

    @staticmethod
    def nodes(widths):
        sizes = [3, *widths.values()]
        return [
            NodeSample(f"conv{k}", "Conv", i * AREA, o * AREA, 2e-6 + 1e-9 * i * math.ceil(o / 16) * 16)
            for k, (i, o) in enumerate(itertools.pairwise(sizes))
        ]

    def compare_widths(self, prunable, widths):
        self.compared.append(dict(widths))
        speedup = self.dense_s / self.total_s(widths)
        return SimpleNamespace(speedup=speedup, low=0.97 * speedup)

    def profile_widths(self, prunable, widths):
        nodes = self.nodes(widths)  # the total is the nodes' sum: a profile knows nothing of the bias
        return VariantSample(dict(widths), tuple(nodes), sum(node.time_s for node in nodes))


def loop_on(device, choices=range(16, 129, 16)):
    menu = {group: tuple(choices) for group in FULL}
    samples = [device.profile_widths(None, widths) for widths in sample_widths(menu, 28)]
    loss = {g: tuple((1 + k / 10) * (1 - w / 128) ** 2 for w in menu[g]) for k, g in enumerate(FULL)}
    prunable = SimpleNamespace(full_widths=FULL, branches={}, graph=SimpleNamespace(frozen=()))
    return Loop(prunable, device, Menu(menu, loss), samples)


def test_without_error_the_first_plan_fits():
    found = loop_on(PlantedDevice(bias=1.0)).search(Budget(speedup=2))
    assert len(found.rounds) == 1 and found.note == ""
    assert WINDOW[0] <= found.best.share <= WINDOW[1]
    assert found.best.predicted_s == pytest.approx(found.best.measured_s, rel=0.01)


@pytest.mark.parametrize("bias", [0.85, 0.95, 1.05])
@pytest.mark.parametrize("speedup", [1.5, 2, 3])
def test_a_bias_that_profiles_do_not_show_is_corrected_from_measured_plans(bias, speedup):
    found = loop_on(PlantedDevice(bias)).search(Budget(speedup=speedup))
    assert len(found.rounds) <= 4
    assert LEAST <= found.best.share <= 1 and found.best in found.rounds


def test_a_later_budget_starts_from_what_earlier_ones_measured():
    alone = loop_on(PlantedDevice(0.85)).search(Budget(speedup=2.1)).rounds[0].share
    loop = loop_on(PlantedDevice(0.85))
    loop.search(Budget(speedup=2))
    after = loop.search(Budget(speedup=2.1)).rounds[0].share
    assert alone < 0.87 and abs(after - 0.97) < abs(alone - 0.97) / 2


def test_no_plan_is_measured_twice_for_a_budget_and_a_coarse_menu_is_said():
    device = PlantedDevice(0.9)
    found = loop_on(device, choices=(64, 128)).search(Budget(speedup=1.9))
    assert len({tuple(widths.items()) for widths in device.compared}) == len(device.compared) == len(found.rounds)
    assert found.best.share <= 1
    assert found.note == "" if found.best.fits else found.note == COARSE or "no plan lay within" in found.note


def test_an_unreachable_budget_is_refused_before_anything_is_measured():
    device = PlantedDevice(1.0)
    with pytest.raises(UnreachableBudgetError, match="unreachable: the fastest plan is predicted to take") as caught:
        loop_on(device, choices=(64, 128)).search(Budget(speedup=50))
    assert device.compared == []
    assert caught.value.fastest_s == pytest.approx(device.total_s(dict.fromkeys(FULL, 64)), rel=0.02)


def rounds(*shares_and_losses, doubt=0.03):
    return [Round({}, 1.0, 0.0, share, share * (1 + doubt), 1.0, loss) for share, loss in shares_and_losses]


def test_the_chosen_round_fits_before_it_is_cheap_and_never_exceeds():
    assert choose_round(rounds((0.9, 1), (0.96, 3), (0.97, 2), (1.01, 0))).share == 0.97
    assert choose_round(rounds((0.94, 2), (0.99, 1), (1.01, 0))).share == 0.94  # 0.99 may be above when measured anew
    assert choose_round(rounds((0.9, 2), (0.99, 1))).share == 0.99
    assert choose_round(rounds((0.94, 2), (0.99, 1), doubt=0.005)).share == 0.99  # known not to be above
    with pytest.raises(
        UnreachableBudgetError, match=r"no plan kept the budget of 1000\.000 ms in 2 rounds; .* 1010\.0"
    ):
        choose_round(rounds((1.02, 1), (1.01, 2)))


def test_recalled_rounds_count_like_measured_ones():
    device = PlantedDevice(0.85)
    first = loop_on(device)
    found = first.search(Budget(speedup=2))
    resumed = loop_on(device)
    resumed.recall(found.rounds)
    assert resumed.measured == first.measured and len(resumed.samples) == len(first.samples)
    assert resumed.search(Budget(speedup=2.1)).rounds[0] == first.search(Budget(speedup=2.1)).rounds[0]


def test_a_budget_that_the_dense_model_keeps_is_said_to_be_one():
    device = PlantedDevice(1.0)
    found = loop_on(device).search(Budget(latency_s=2 * device.dense_s))
    assert found.best.widths == FULL and found.note == "the dense model keeps this budget as it is"
