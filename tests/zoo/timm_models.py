"""timm: the smallest model of every module file, on the smallest image that it takes; ``test_`` models are left out."""

from functools import partial

import timm
import torch
from zoo.entry import Case, Entry, images
from zoo.lively import enliven

SIZE = 64

SMALLEST = {
    "beit": "beit_base_patch16_224", "byoanet": "halonet_h1", "byobnet": "mobileone_s1", "cait": "cait_xxs24_224",
    "coat": "coat_tiny", "convit": "convit_tiny", "convmixer": "convmixer_768_32", "convnext": "convnext_zepto_rms",
    "cpubone": "cpubone_nano", "crossvit": "crossvit_tiny_240", "csatv2": "csatv2", "cspnet": "cs3darknet_focus_s",
    "cspnext": "cspnext_tiny", "davit": "davit_tiny", "deepseek_vit": "deepseek_vit_412m",
    "deit": "deit_tiny_patch16_224", "densenet": "densenet121", "dla": "dla46x_c", "dpn": "dpn48b",
    "edgenext": "edgenext_xx_small", "efficientformer": "efficientformer_l1",
    "efficientformer_v2": "efficientformerv2_s0", "efficientnet": "mobilenetv2_035", "efficientvim": "efficientvim_m1",
    "efficientvit_mit": "efficientvit_b0", "efficientvit_msra": "efficientvit_m0",
    "eva": "vit_tiny_patch16_dinov3_qkvb", "fasternet": "fasternet_t0", "fastvit": "fastvit_t8",
    "focalnet": "focalnet_tiny_srf", "gcvit": "gcvit_xxtiny", "gemma4_vit": "gemma4_vit_167m",
    "ghostnet": "ghostnet_050", "hardcorenas": "hardcorenas_b", "hgnet": "hgnetv2_b0", "hiera": "hiera_tiny_224",
    "hieradet_sam2": "sam2_hiera_tiny", "hrnet": "hrnet_w18_small", "iformer": "iformer_t",
    "inception_next": "inception_next_atto", "inception_resnet_v2": "inception_resnet_v2",
    "inception_v3": "inception_v3", "inception_v4": "inception_v4", "lcnetv2": "lcnetv2_small", "levit": "levit_128s",
    "lowformer": "lowformer_b0", "mambaout": "mambaout_femto", "maxxvit": "maxvit_pico_rw_256",
    "metaformer": "poolformerv2_s12", "mlp_mixer": "gmlp_ti16_224", "mobilenetv3": "mobilenetv3_small_050",
    "mobilenetv5": "mobilenetv5_base", "mobilevit": "mobilevit_xxs", "mvitv2": "mvitv2_tiny",
    "naflexvit": "naflexvit_base_patch16_parfac_gap", "nasnet": "nasnetalarge", "nest": "nest_tiny_jx",
    "nextvit": "nextvit_small", "nfnet": "nf_regnet_b0", "pit": "pit_ti_224", "pnasnet": "pnasnet5large",
    "pvt_v2": "pvt_v2_b0", "qwen3_vit": "qwen3_vit_88m", "rdnet": "rdnet_tiny", "regnet": "regnetx_002",
    "repghost": "repghostnet_050", "repvit": "repvit_m1", "res2net": "res2next50", "resnest": "resnest14d",
    "resnet": "resnet10t", "resnetv2": "resnetv2_18", "rexnet": "rexnet_100", "selecsls": "selecsls42",
    "senet": "legacy_seresnet18", "sequencer": "sequencer2d_s", "shvit": "shvit_s1", "sknet": "skresnet18",
    "starnet": "starnet_s050", "swiftformer": "swiftformer_xs", "swin_transformer": "swin_tiny_patch4_window7_224",
    "swin_transformer_v2": "swinv2_tiny_window16_256", "swin_transformer_v2_cr": "swinv2_cr_tiny_224",
    "tiny_vit": "tiny_vit_5m_224", "tnt": "tnt_s_legacy_patch16_224", "tresnet": "tresnet_m",
    "twins": "twins_svt_small", "vgg": "vgg11", "visformer": "visformer_tiny",
    "vision_transformer": "vit_tiny_patch16_224", "vision_transformer_hybrid": "vit_tiny_r_s16_p8_224",
    "vision_transformer_relpos": "vit_srelpos_small_patch16_224",
    "vision_transformer_sam": "samvit_base_patch16_224", "vitamin": "vitamin_small_224", "volo": "volo_d1_224",
    "vovnet": "ese_vovnet19b_slim_dw", "xception": "legacy_xception", "xception_aligned": "xception41p",
    "xcit": "xcit_nano_12_p8_224",
}  # fmt: skip
"""Module file -> model."""

MORE = (
    "convformer_s18 caformer_s18 mixer_s32_224 resmlp_12_224 ghostnetv2_100 ghostnetv3_050 mobilenetv4_conv_small "
    "mobilevitv2_050 coatnet_pico_rw_224 lambda_resnet26t seresnet50 ecaresnet50t gernet_s repvgg_a0 hgnet_tiny "
    "efficientnet_lite0 tf_efficientnetv2_b0 mixnet_s dm_nfnet_f0 resnetv2_50 "
    "swinv2_cr_tiny_ns_224 maxvit_rmlp_pico_rw_256 twins_pcpvt_small eva02_tiny_patch14_224 cspresnext50"
).split()
"""Blocks that the smallest model of their file lacks."""

SIZES = {
    "halonet_h1": 256, "deepseek_vit_412m": 70, "efficientformer_l1": 224, "inception_resnet_v2": 96,
    "inception_v3": 96, "inception_v4": 96, "eva02_tiny_patch14_224": 70,
}  # fmt: skip
"""Pixels where 64 do not do."""

OPTIONS = {"deepseek_vit_412m": {"depth": 2}, "gemma4_vit_167m": {"depth": 2}, "qwen3_vit_88m": {"depth": 3}}
"""Fewer blocks where all are alike and would be slow."""

RESIZED = set(
    "beit cait coat convit deit efficientformer_v2 eva gcvit hiera levit maxxvit mlp_mixer nest pit swin_transformer "
    "swin_transformer_v2 swin_transformer_v2_cr tnt visformer vision_transformer vision_transformer_hybrid "
    "vision_transformer_relpos vitamin volo".split()
)
"""Module files whose models must be told the image's size."""


def entries():
    """The models, named by timm's names."""
    return [Entry("timm", name, partial(build, name)) for name in (*SMALLEST.values(), *MORE)]


def build(name):
    size, options = SIZES.get(name, SIZE), OPTIONS.get(name, {})
    if module_of(name) in RESIZED:
        options = {**options, "img_size": size}
    torch.manual_seed(0)
    model = timm.create_model(name, pretrained=False, num_classes=1000, **options)
    return Case(enliven(model), images(size, batch=1 if size > 128 else 2))


def module_of(name):
    return timm.models.model_entrypoint(name).__module__.rpartition(".")[2]
