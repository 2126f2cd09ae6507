import pytest

from deploy_prune.errors import InputError
from deploy_prune.search.menu import Menu, prefer_widths


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
            "loss 0.5 at the full width 16, expected 0: losses count from the dense network",
        ),
    ],
)
def test_mistakes_name_the_group_and_what_was_expected(widths, loss, message):
    with pytest.raises(InputError, match=message):
        Menu({"a": widths}, {"a": loss})


def test_group_without_losses_is_refused():
    with pytest.raises(InputError, match="group 'b' has widths or losses but not both"):
        Menu({"a": (8,), "b": (8,)}, {"a": (0.0,)})


def test_other_widths_cost_a_share_of_the_loss_more():
    menu = Menu({"a": (8, 16), "b": (4, 8, 12)}, {"a": (2.0, 0.0), "b": (3.0, 1.0, 0.0)})
    preferring = prefer_widths(menu, {"a": 8, "b": 8}, 0.1)  # loses 3, so that both changes together cost 0.3
    assert preferring.loss["a"] == pytest.approx((1.85, 0.0))
    assert preferring.loss["b"] == pytest.approx((3.0, 0.85, 0.0))
    assert preferring.widths == menu.widths
    dense = prefer_widths(menu, {"a": 16, "b": 12}, 0.1)
    assert dense.loss == menu.loss  # nothing is lost, so nothing is added
