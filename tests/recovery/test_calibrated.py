"""Recovery on the calibration data of a search."""

from recovery.parts import noise
from recovery.test_recover import pruned_topology

from deploy_prune.importance.calibration import Calibration
from deploy_prune.recovery.calibrated import recover_on


def test_one_large_batch_is_divided_into_its_samples():
    dense, pruned, plan = pruned_topology("Residual")
    data = Calibration.of(noise(12, 3, 16, 16))
    assert len(data.batches) == 1
    found = recover_on(dense, pruned, plan, data)
    assert found is not None and found.recovered < found.pruned


def test_without_data_nothing_is_tried():
    dense, pruned, plan = pruned_topology("Residual")
    assert recover_on(dense, pruned, plan, None) is None


def test_what_cannot_be_divided_is_not_used():
    """One sample; and a batch whose tensors differ in length, which only the loss knows how to read."""
    dense, pruned, plan = pruned_topology("Residual")
    assert recover_on(dense, pruned, plan, Calibration.of(noise(1, 3, 16, 16))) is None
    uneven = [{"img": noise(4, 3, 16, 16), "boxes": noise(7, 4)}]
    assert recover_on(dense, pruned, plan, Calibration.of(uneven, lambda model, b: model(b["img"]).mean())) is None
