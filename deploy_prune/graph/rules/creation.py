"""Operators whose result depends on no parameter axis: new tensors, and numbers read out of tensors."""

from __future__ import annotations

from deploy_prune.graph.rules.table import Call, rule, untracked
from deploy_prune.graph.values import Value

NEW = """
    arange empty zeros ones full scalar_tensor linspace logspace eye rand randn randint randperm new_zeros new_ones
    new_full new_empty tril_indices triu_indices empty_strided new_empty_strided hann_window hamming_window
    sym_size sym_numel sym_stride _assert_async _assert_tensor_metadata
""".split()

READ = """
    _local_scalar_dense item is_nonzero equal allclose bincount histc nonzero nonzero_static _unique2 unique_dim
    unique_consecutive unique_dim_consecutive masked_select multinomial bucketize searchsorted
    nll_loss_forward nll_loss2d_forward nll_loss_nd cross_entropy_loss kl_div _ctc_loss
    torchvision.nms affine_grid_generator _histogramdd_from_bin_cts isin trace linalg_det
    linalg_slogdet _linalg_det _linalg_slogdet
""".split()


@rule(*NEW)
def creation(call: Call) -> list[Value]:
    """A tensor made from nothing but sizes and numbers."""
    return untracked(call)


@rule(*READ)
def reading(call: Call) -> list[Value]:
    """Numbers that decide sizes, control flow or a loss: which index they came from cannot be followed."""
    call.facts.freeze_values(call.values(), f"is read number by number in {call.name}")
    return untracked(call)


@rule("tril", "triu")
def triangle(call: Call) -> list[Value]:
    """Zeroing by position over the last two axes: these may not shrink."""
    value = call.args[0]
    for axis in (value.ndim - 2, value.ndim - 1):
        block = value.block_at(axis)
        if block is not None:
            call.facts.freeze(block.atoms, f"{call.name} depends on the position along axis {axis}")
    return [value]
