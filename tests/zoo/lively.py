"""Weights on which a wrong channel shows.

Many models start as a special case: norms of ones and zeros, residual branches scaled by 0 or 1e-6, position tables of
zeros. Channels that are alike or do nothing can be confused unseen, so every constant parameter becomes random. Weights
of 0.02 make attention so even that keys hardly matter, so small ones grow until they keep the variance of their input.
"""

import torch


def enliven(model, seed=0):
    """Make all constant parameters and all statistics random; returns the model in eval mode."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        tensors = [p for p in module._parameters.values() if p is not None]
        if "running_var" in module._buffers and module.running_var is not None:
            module.running_mean.normal_(0, 0.3, generator=generator)
            module.running_var.uniform_(0.5, 1.5, generator=generator)
            tensors += [b for b in map(module._buffers.get, ("weight", "bias")) if b is not None]
        for tensor in (t for t in tensors if t.is_floating_point() and t.numel()):
            if tensor.min() == tensor.max():
                randomise(tensor.data, generator)
            elif tensor.ndim > 1:
                enlarge(tensor.data)
    return model.eval()


def natural_std(tensor):
    """Standard deviation at which a weight keeps the variance of its input; of a table with one row, 0.3."""
    return (tensor.shape[0] / tensor.numel()) ** 0.5 if tensor.shape[0] > 1 else 0.3


def enlarge(weight):
    """Scale a weight up if it is under half its natural size."""
    std = float(weight.std())
    if std < natural_std(weight) / 2:
        weight.mul_(natural_std(weight) / std)


def randomise(constant, generator):
    """Fill a constant tensor: a weight by its fan-in, a scale around one, an offset around zero."""
    value, entries = float(constant.flatten()[0]), constant.numel()
    if constant.ndim > 1 and entries > max(constant.shape):
        constant.normal_(0, natural_std(constant), generator=generator)
    elif value == 0 and entries > 1:
        constant.normal_(0, 0.3, generator=generator)
    else:
        constant.uniform_(0.5, 1.5, generator=generator)
