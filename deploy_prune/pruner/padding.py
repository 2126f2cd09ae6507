"""Back to the dense shape: a pruned network with zeros where units were removed."""

from __future__ import annotations

import torch
from torch import nn

from deploy_prune.pruner.copying import copy_model
from deploy_prune.pruner.plan import Plan


@torch.no_grad()
def pad_to_dense(pruned: nn.Module, dense: nn.Module, plan: Plan) -> nn.Module:
    """A copy of ``dense`` with the weights of ``pruned``; parameters of removed units are zero.

    ``apply_plan`` of the same plan gives ``pruned`` back, and a plan that removes at least as much finds its units
    among those of the network that was pruned, trained or not. The padded network itself computes what the pruned one
    does only where zeros are neutral, which they are not under a layer norm.

    Args:
        pruned: what ``plan`` made of ``dense``, with whatever values its tensors have by now.
        dense: gives the shape, removed entries of buffers, and what lies in removed branches.
        plan: made for the architecture of ``dense``.
    """
    padded = copy_model(dense)
    kept: dict[str, dict[int, torch.Tensor]] = {}
    for cut in plan.cuts:
        kept.setdefault(cut.parameter, {})[cut.axis] = torch.tensor(cut.kept)
    moved = {renumbering.buffer for renumbering in plan.renumberings}
    parameters = dict(padded.named_parameters())
    new = {**dict(pruned.named_parameters()), **dict(pruned.named_buffers())}
    for name, tensor in (*parameters.items(), *padded.named_buffers()):
        if name not in new or name in moved:  # inside a removed branch, or positions in the dense network
            continue
        where = [kept.get(name, {}).get(axis, torch.arange(size)) for axis, size in enumerate(tensor.shape)]
        if name in parameters:
            tensor.zero_()
        tensor[torch.meshgrid(*where, indexing="ij") if where else ()] = new[name].to(tensor)
    return padded
