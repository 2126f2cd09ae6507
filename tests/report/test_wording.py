"""Paragraphs, rules and tables about why a model is as fast as it is."""

import dataclasses
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from report.explanation import EXPLANATION, FLOOR

from deploy_prune.report.advice import RULES, advise
from deploy_prune.report.alternatives import Alternative, alternative_rows, verdict_line
from deploy_prune.report.explained import LAYERS_SHOWN, layer_rows
from deploy_prune.report.figures import rounded_to_sum
from deploy_prune.report.wording import explanation_paragraph, floor_paragraph


def test_the_paragraph_says_where_the_time_went():
    assert explanation_paragraph(EXPLANATION) == (
        "MACs fell 4.00 times, latency 2.00 times: from 10.00 to 5.00 ms. "
        "The 41 nodes that are bound by compute, 73% of the dense time, took 7.30 ms and take 2.92 ms, "
        "2.50 times faster with 4.00 times fewer MACs. "
        "The node with MACs that neither arithmetic nor data explain, 8% of the dense time, took 0.80 ms and takes "
        "0.88 ms, 1.10 times slower with 4.00 times fewer MACs. "
        "The 18 nodes without MACs (now 20), 9% of the dense time, took 0.90 ms and take 0.70 ms, 1.29 times faster. "
        "Between the nodes the engine took 1.00 ms and takes 0.50 ms. "
        "Had all time fallen as MACs did, the pruned model would take 2.50 ms; the difference is +2.50 ms: "
        "bound by compute +1.10, bound by overhead +0.68, without MACs +0.47, between the nodes +0.25."
    )


def test_nothing_is_said_of_a_part_that_takes_nothing():
    parts = [dataclasses.replace(p, dense_ms=0.0, pruned_ms=0.0) for p in EXPLANATION.parts if p.name == "between"]
    found = dataclasses.replace(EXPLANATION, parts=(*EXPLANATION.parts[:-1], *parts), dense_ms=9.0, pruned_ms=4.5)
    assert "Between the nodes" not in explanation_paragraph(found)


def numbers(text, pattern):
    return [float(found) for found in re.findall(pattern, text)]


def test_what_is_printed_adds_up():
    text = explanation_paragraph(EXPLANATION)
    assert sum(numbers(text, r"took ([\d.]+) ms")) == pytest.approx(10.0)
    assert sum(numbers(text, r"takes? (?!2\.50)([\d.]+) ms[,.]")) == pytest.approx(5.0)
    assert sum(numbers(text.split(" ms: ")[-1], r"\+([\d.]+\d)")) == pytest.approx(2.5)


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=8), st.integers(0, 4))
def test_rounding_keeps_the_sum(values, digits):
    shown, total = rounded_to_sum(values, sum(values), digits)
    assert sum(shown) == pytest.approx(total, abs=1e-9)
    assert total == pytest.approx(sum(values), abs=0.51 * 10**-digits)
    assert all(abs(one - value) <= 1.01 * 10**-digits for one, value in zip(shown, values, strict=True))


def test_the_floor_is_a_sum():
    assert floor_paragraph(FLOOR) == (
        "No widths are predicted to take less than 3.500 ms (standard deviation 0.200), 3.00 times as fast as dense: "
        "nodes at their narrowest widths 1.000, frozen layers 0.750, nodes without MACs that no group decides 0.250, "
        "post-processing 1.000 and the engine's overhead 0.500 ms."
    )


def scaled(name, ms):
    """The explanation with a part of the pruned time at ``ms``."""
    parts = tuple(dataclasses.replace(p, pruned_ms=ms if p.name == name else p.pruned_ms) for p in EXPLANATION.parts)
    return dataclasses.replace(EXPLANATION, parts=parts)


@pytest.mark.parametrize(
    ("rule", "budget_ms", "found", "holds"),
    [
        (0, 5.9, EXPLANATION, False),  # 3.5 of 5.9 is 59 %
        (0, 5.8, EXPLANATION, True),
        (1, 20, scaled("glue", 2.5), False),  # half is not above half
        (1, 20, scaled("glue", 2.6), True),
        (2, 5.9, EXPLANATION, False),  # 1.75 of 5.9 is 29.7 %
        (2, 5.8, EXPLANATION, True),
        (3, 20, scaled("overhead", 2.5), False),
        (3, 20, scaled("overhead", 2.6), True),
        (4, 20, scaled("compute", 2.5), False),
        (4, 20, scaled("compute", 2.6), True),
    ],
)
def test_each_rule_has_a_limit(rule, budget_ms, found, holds):
    given_advice = [one.criterion for one in advise(budget_ms, found, FLOOR)]
    assert (RULES[rule].criterion in given_advice) is holds


def test_advice_carries_the_figure():
    first = advise(5.0, EXPLANATION, FLOOR)[0]
    assert first.criterion == "the floor is above 60% of the budget" and first.figure == pytest.approx(0.7)


def test_the_layers_beyond_the_slowest_are_summed():
    rows = layer_rows(EXPLANATION)
    assert len(rows) == LAYERS_SHOWN + 1
    assert rows[0] == ("resize", "1.000 → –", "–", "1.00 MiB → –", "–", "10% → –", "no MACs → –", "–")
    assert rows[1] == (
        "block.19", "0.390 → 0.100", "1.00 M → 250.00 k", "1.00 MiB → 512.00 KiB", "50% → 25%", "25%",
        "compute → overhead", "0% → 25%",
    )  # fmt: skip
    # blocks 0 to 5: 6 * 0.2 + 0.01 * (0 + ... + 5)
    assert rows[-1][:3] == ("the other 6", "1.350 → 0.600", "6.00 M → 1.50 M")


def alternative(name, latency_ms, met, metric):
    return Alternative(name, "int8", latency_ms, 10 / latency_ms, 1.9, 2.1, met, metric, "note")


def test_the_best_alternative_meets_the_budget_and_was_judged():
    slow = alternative("slow", 9.0, False, 0.9)
    pruned, int8 = alternative("pruned", 4.8, True, 0.58), alternative("INT8", 4.0, True, 0.6)
    smaller = alternative("smaller", 3.0, True, None)
    assert [row[0] for row in alternative_rows([slow, pruned, int8])] == ["INT8", "pruned", "slow"]
    assert verdict_line([slow]) == "None of these meets the budget."
    assert verdict_line([slow, pruned, int8]) == "Best at this budget: INT8, 0.6000 at 4.00 ms."
    assert verdict_line([pruned, smaller]) == (
        "Best at this budget: pruned, 0.5800 at 4.80 ms. smaller would have to be trained before they can be compared."
    )
    assert verdict_line([smaller]) == ("smaller meet the budget; none of them was evaluated, so which is best is open.")
