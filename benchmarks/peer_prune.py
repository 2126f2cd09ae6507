"""One network pruned by Torch-Pruning with its documented arguments, exported; run in processes of its own.

    python benchmarks/peer_prune.py resnet50 --scope global --round-to 16 --ratios 0.2 0.4 --out folder

Prints a line of JSON per ratio: file, MAC reduction counted by deploy_prune.count, and parameters; or why it fails.
"""

import argparse
import json
import resource
from pathlib import Path

import latency_models
import torch
import torch_pruning as tp
from torch import nn

from deploy_prune.count import count

MEMORY_BYTES = 12 * 2**30
"""A process that wants more fails, and takes no other with it: Swin-T's analysis grew past 6 GB in half a minute."""
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


def prune_and_export(case, options, ratio, file):
    """The file, and what is left of the network."""
    before = count(case.model, case.inputs)
    pruned = prune(case, options.scope, options.round_to, ratio)
    with torch.no_grad():
        pruned(case.inputs)
    case.export(pruned, file)
    after = count(pruned, case.inputs)
    return {
        "file": str(file),
        "mac_reduction": before.macs / after.macs,
        "parameters": [before.params, after.params],
    }


def main():
    """Prune, export, count."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", choices=latency_models.names())
    parser.add_argument("--scope", choices=SCOPES, required=True)
    parser.add_argument("--round-to", type=int)
    parser.add_argument("--ratios", type=float, nargs="+", required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(1)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    for ratio in options.ratios:
        file = options.out / f"{options.scope}-{options.round_to}-{ratio:.4f}.onnx"
        try:
            found = prune_and_export(latency_models.build(options.model), options, ratio, file)
        except Exception as error:  # whatever goes wrong in the other tool, or in a network that it broke
            found = {"fails": f"{type(error).__name__}: {error}".strip().splitlines()[0][:200]}
        print(json.dumps({"ratio": ratio, **found}), flush=True)


if __name__ == "__main__":
    main()
