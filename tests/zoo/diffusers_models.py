"""diffusers: tiny random configurations of the denoising networks and of the autoencoder."""

from functools import partial

import diffusers
import torch
from zoo.entry import Case, Entry
from zoo.lively import enliven

CHANNELS = {"block_out_channels": (16, 32), "layers_per_block": 1, "norm_num_groups": 4}
DOWN, UP = ("DownBlock2D", "AttnDownBlock2D"), ("AttnUpBlock2D", "UpBlock2D")

MODELS = {
    "unet2d": ("UNet2DModel", {
        **CHANNELS, "sample_size": 16, "down_block_types": DOWN, "up_block_types": UP, "attention_head_dim": 8,
    }, ("timestep",)),
    "unet2d_condition": ("UNet2DConditionModel", {
        **CHANNELS, "sample_size": 16, "cross_attention_dim": 24, "attention_head_dim": 4, "in_channels": 4,
        "out_channels": 4, "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    }, ("timestep", "encoder_hidden_states")),
    "dit": ("DiTTransformer2DModel", {
        "num_attention_heads": 4, "attention_head_dim": 12, "in_channels": 4, "num_layers": 2, "sample_size": 16,
        "patch_size": 2, "num_embeds_ada_norm": 10, "norm_num_groups": 4,
    }, ("timestep", "class_labels")),
    "autoencoder_kl": ("AutoencoderKL", {
        **CHANNELS, "sample_size": 16, "latent_channels": 4,
        "down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2,
    }, ()),
    "pixart": ("PixArtTransformer2DModel", {
        "num_attention_heads": 4, "attention_head_dim": 12, "in_channels": 4, "out_channels": 8, "num_layers": 2,
        "sample_size": 16, "patch_size": 2, "cross_attention_dim": 48, "caption_channels": 24, "norm_num_groups": 4,
    }, ("timestep", "encoder_hidden_states")),
}  # fmt: skip
"""Name -> (class, configuration, inputs beside the noisy image)."""

CONDITIONS = {
    "timestep": torch.tensor([3, 7]),
    "class_labels": torch.tensor([1, 4]),
    "encoder_hidden_states": torch.rand(2, 6, 24, generator=torch.Generator().manual_seed(1)),
}


def entries():
    """All configurations."""
    return [Entry("diffusers", name, partial(build, *of)) for name, of in MODELS.items()]


def build(kind, config, conditions):
    torch.manual_seed(0)
    model = enliven(getattr(diffusers, kind)(**config))
    channels = config.get("in_channels", 3)
    sample = torch.rand(2, channels, 16, 16, generator=torch.Generator().manual_seed(0))
    first = {"hidden_states" if "Transformer" in kind else "sample": sample}
    return Case(model, {**first, **{name: CONDITIONS[name] for name in conditions}})
