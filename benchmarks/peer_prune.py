"""One network pruned by Torch-Pruning with its documented arguments, exported; run in a process of its own.

    python benchmarks/peer_prune.py resnet50 --scope global --round-to 16 --ratio 0.4 --out pruned.onnx

Prints JSON: MACs of the dense and the pruned network, counted by deploy_prune.count.
"""

import argparse
import json
from pathlib import Path

import latency_models
import torch
import torch_pruning as tp
from torch import nn

from deploy_prune.count import count

SCOPES = {
    "local": {"global_pruning": False},
    "global": {"global_pruning": True},
    "isomorphic": {"global_pruning": True, "isomorphic": True},
}


def prune(case, scope, round_to, ratio):
    """Prune in place by L2 group magnitude, the classifier left out, as Torch-Pruning's README does."""
    model = case.model
    heads = {}
    for module in model.modules():
        if isinstance(module, nn.MultiheadAttention):
            heads[module] = module.num_heads
    classes = latency_models.output_layers(model, case.inputs)
    pruner = tp.pruner.MagnitudePruner(
        model,
        case.inputs,
        importance=tp.importance.GroupMagnitudeImportance(p=2),
        pruning_ratio=ratio,
        round_to=round_to,
        ignored_layers=classes,
        num_heads=heads,
        **SCOPES[scope],
    )
    pruner.step()
    return model


def main():
    """Prune, export, count."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", choices=latency_models.names())
    parser.add_argument("--scope", choices=SCOPES, required=True)
    parser.add_argument("--round-to", type=int)
    parser.add_argument("--ratio", type=float, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(1)
    case = latency_models.build(options.model)
    before = count(case.model, case.inputs)
    pruned = prune(case, options.scope, options.round_to, options.ratio)
    with torch.no_grad():
        pruned(case.inputs)
    case.export(pruned, options.out)
    after = count(pruned, case.inputs)
    print(json.dumps({"mac_reduction": before.macs / after.macs, "parameters": [before.params, after.params]}))


if __name__ == "__main__":
    main()
