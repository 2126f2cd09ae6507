import pytest

from deploy_prune.errors import InputError
from deploy_prune.search.menu import Menu, prefer_widths, restrict


def test_loss_at_by_hand():
    menu = Menu({"a": (8, 16), "b": (4, 8)}, {"a": (0.5, 0.0), "b": (0.25, 0.0)})
    assert menu.loss_at({"a": 8, "b": 8}) == 0.5
    assert menu.loss_at({"a": 8, "b": 4}) == 0.75


def test_loss_may_rise_with_width_and_be_negative():
    Menu({"a": (8, 16, 24)}, {"a": (-0.1, 0.2, 0.0)})


@pytest.mark.parametrize(
    ("widths", "loss", "message"),
    [
        ((), (), "menu of group 'a': no widths, expected at least the full width"),
        ((16, 8), (1.0, 0.0), r"widths \(16, 8\), expected them ascending, distinct and not negative"),
        ((8, 8), (1.0, 0.0), "expected them ascending, distinct"),
        ((8, 16), (0.0,), "1 losses for 2 widths, expected one each"),
        ((8, 16), (float("nan"), 0.0), "expected finite numbers"),
        (
            (8, 16),
            (1.0, 0.5),
            "loss 0.5 at the last width 16, expected 0: losses count from there",
        ),
    ],
)
def test_mistakes_name_the_group_and_what_was_expected(widths, loss, message):
    with pytest.raises(InputError, match=message):
        Menu({"a": widths}, {"a": loss})


def test_group_without_losses_is_refused():
    with pytest.raises(InputError, match="group 'b' has widths or losses but not both"):
        Menu({"a": (8,), "b": (8,)}, {"a": (0.0,)})


MENU = Menu({"a": (0, 4, 8, 16), "b": (8, 12, 16), "c": (2, 4)}, {"a": (4.0, 3.0, 1.0, 0.0), "b": (3.0, 2.0, 0.0),
            "c": (1.0, 0.0)}, (("a",),))  # fmt: skip


def test_a_smallest_share_takes_narrow_widths_away_but_leaves_branches():
    found = restrict(MENU, min_width=0.5)
    assert found.widths == {"a": (0, 8, 16), "b": (8, 12, 16), "c": (2, 4)}
    assert found.loss["a"] == (4.0, 1.0, 0.0) and found.branches == (("a",),)


def test_a_smallest_share_is_one_of_the_full_width_wherever_the_menu_begins():
    found = restrict(MENU, min_width=0.5, full={"a": 16, "b": 24, "c": 4})
    assert found.widths["b"] == (12, 16)


def test_equal_groups_choose_from_what_both_have():
    """A group without a branch has no width 0, so that its equal's branch stays too."""
    found = restrict(MENU, equal=[("a", "b")])
    assert found.widths == {"a": (8, 16), "b": (8, 16), "c": (2, 4)}
    assert found.equal == (("a", "b"),) and found.branches == ()


@pytest.mark.parametrize(
    ("equal", "message"),
    [
        ([("a", "bb")], "the model has no free group 'bb'; did you mean 'b'"),
        ([("a", "c")], "'c' has 4 units and 'a' has 16; only groups of one full width"),
        ([("a", "b"), ("b", "c")], "group 'b' is named 2 times"),
        ([("a",)], "name at least two groups"),
    ],
)
def test_what_cannot_be_equal_is_said(equal, message):
    with pytest.raises(InputError, match=message):
        restrict(MENU, equal=equal)


def test_a_menu_refuses_equal_groups_of_other_widths():
    with pytest.raises(InputError, match="group 'b': its widths differ from those of 'a', its equal"):
        Menu({"a": (8,), "b": (4,)}, {"a": (0.0,), "b": (0.0,)}, equal=(("a", "b"),))


def test_other_widths_cost_a_share_of_the_loss_more():
    menu = Menu({"a": (8, 16), "b": (4, 8, 12)}, {"a": (2.0, 0.0), "b": (3.0, 1.0, 0.0)})
    preferring = prefer_widths(menu, {"a": 8, "b": 8}, 0.1)  # loses 3, so that both changes together cost 0.3
    assert preferring.loss["a"] == pytest.approx((1.85, 0.0))
    assert preferring.loss["b"] == pytest.approx((3.0, 0.85, 0.0))
    assert preferring.widths == menu.widths
    dense = prefer_widths(menu, {"a": 16, "b": 12}, 0.1)
    assert dense.loss == menu.loss  # nothing is lost, so nothing is added
