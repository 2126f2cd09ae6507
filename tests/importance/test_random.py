import torch

from deploy_prune.importance import RandomImportance


def test_scores_repeat_with_the_seed(two_layers, group_of):
    group = group_of(two_layers, torch.rand(1, 2))
    torch.manual_seed(3)
    first = RandomImportance()(group)
    torch.manual_seed(3)
    assert torch.equal(first, RandomImportance()(group)) and first.shape == (2,)
    assert not torch.equal(first, RandomImportance()(group))
