import copy
import pickle

import pytest
import torch

from deploy_prune.graph.attributes import (
    Attribute,
    Operation,
    TracedInt,
    attributes_in,
    evaluate,
    expression_of,
    numbers_of_parts,
    solve_for,
)

C, H = Attribute("m", ("c",)), Attribute("m", ("shape", 1))


def size_unknown(axis):
    raise AssertionError(axis)


def test_arithmetic_builds_expressions_and_computes():
    c = TracedInt(12, C)
    expression = ((2 * c + 4) // 7).expression
    assert (2 * c + 4) // 7 == 4
    assert evaluate(expression, {C: 12}, size_unknown) == 4
    assert evaluate(expression, {C: 5}, size_unknown) == 2
    assert attributes_in(expression) == {C}


def test_copies_and_pickles_are_plain():
    c = TracedInt(12, C)
    for twin in (copy.copy(c), copy.deepcopy(c), pickle.loads(pickle.dumps(c)), copy.deepcopy([c])[0]):
        assert type(twin) is int and twin == 12


def test_tensors_and_floats_take_it_as_a_number():
    c = TracedInt(4, C)
    assert type(c * 0.5) is float and type(c**-0.5) is float
    assert torch.equal(torch.ones(2) * c, torch.full((2,), 4.0))


def test_literals_and_others():
    assert expression_of(3) == 3 and expression_of(TracedInt(3, C)) == C
    assert expression_of(True) is None and expression_of(2.0) is None


@pytest.mark.parametrize(
    ("expression", "size", "expected"),
    [
        (C, 9, 9),
        (Operation("*", 3, C), 21, 7),
        (Operation("*", 3, C), 22, None),
        (Operation("+", Operation("*", C, 2), H), 20, 6),
        (Operation("-", 20, C), 5, 15),
        (Operation("//", C, 4), 3, 12),
        (Operation("//", 24, C), 4, 6),
    ],
)
def test_solving(expression, size, expected):
    assert solve_for(expression, C, size, {C: 0, H: 8}, size_unknown) == expected


def test_names():
    assert (str(C), str(H), str(Attribute("", ("c",)))) == ("m.c", "m.shape[1]", "c")


def test_what_divides_stays_unless_it_stands_alone_elsewhere():
    width, parts, other = (Attribute("m", (name,)) for name in ("width", "parts", "other"))
    pieces = Operation("//", Operation("*", width, other), parts)
    assert numbers_of_parts([pieces, width], set()) == {parts}
    assert numbers_of_parts([pieces, parts], set()) == set()  # a size of its own says what it becomes
    assert numbers_of_parts([pieces], {width, other}) == set()  # then the equation itself determines it
