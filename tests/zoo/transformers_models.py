"""transformers: tiny random configurations of the architectures that people prune."""

from functools import partial

import torch
import transformers
from zoo.entry import Case, Entry, images, tokens
from zoo.lively import enliven

VOCABULARY, PIXELS = 96, 32

DECODER = {
    "vocab_size": VOCABULARY, "hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64, "pad_token_id": 0,
}  # fmt: skip
ENCODER = {
    "vocab_size": VOCABULARY, "hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 2,
    "num_attention_heads": 4, "max_position_embeddings": 64, "pad_token_id": 0,
}  # fmt: skip
VISION = {
    "hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 2, "num_attention_heads": 4,
    "image_size": PIXELS, "patch_size": 8,
}  # fmt: skip
SEQUENCE = {
    "vocab_size": VOCABULARY, "d_model": 48, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4,
    "decoder_attention_heads": 4, "encoder_ffn_dim": 80, "decoder_ffn_dim": 80, "pad_token_id": 0,
    "decoder_start_token_id": 1, "eos_token_id": 2, "bos_token_id": 1,
}  # fmt: skip
CLIP_TEXT = {**ENCODER, "eos_token_id": 2, "bos_token_id": 1}

LANGUAGE = {
    "gpt2": ("GPT2LMHeadModel", {"vocab_size": VOCABULARY, "n_embd": 48, "n_layer": 2, "n_head": 4, "n_positions": 64}),
    "gpt_neo": ("GPTNeoForCausalLM", {
        "vocab_size": VOCABULARY, "hidden_size": 48, "num_layers": 2, "num_heads": 4, "window_size": 8,
        "attention_types": [[["global", "local"], 1]], "max_position_embeddings": 64,
    }),
    "gpt_neox": ("GPTNeoXForCausalLM", ENCODER),
    "llama": ("LlamaForCausalLM", {**DECODER, "num_key_value_heads": 4}),
    "llama_gqa": ("LlamaForCausalLM", DECODER),
    "llama_mqa": ("LlamaForCausalLM", {**DECODER, "num_key_value_heads": 1}),
    "llama_tied": ("LlamaForCausalLM", {**DECODER, "tie_word_embeddings": True}),
    "qwen2": ("Qwen2ForCausalLM", DECODER),
    "qwen3": ("Qwen3ForCausalLM", {**DECODER, "head_dim": 16}),
    "mistral": ("MistralForCausalLM", {**DECODER, "sliding_window": 8}),
    "mixtral": ("MixtralForCausalLM", {**DECODER, "num_local_experts": 4}),
    "phi": ("PhiForCausalLM", {**DECODER, "num_key_value_heads": 4}),
    "phi3": ("Phi3ForCausalLM", DECODER),
    "gemma": ("GemmaForCausalLM", {**DECODER, "num_key_value_heads": 1, "head_dim": 16}),
    "gemma2": ("Gemma2ForCausalLM", {**DECODER, "head_dim": 16, "sliding_window": 8}),
    "falcon": ("FalconForCausalLM", {
        "vocab_size": VOCABULARY, "hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    }),
    "bloom": ("BloomForCausalLM", {"vocab_size": VOCABULARY, "hidden_size": 48, "n_layer": 2, "n_head": 4}),
    "mamba": ("MambaForCausalLM", {
        "vocab_size": VOCABULARY, "hidden_size": 48, "num_hidden_layers": 2, "state_size": 8, "time_step_rank": 4,
    }),
    "opt": ("OPTForCausalLM", {
        "vocab_size": VOCABULARY, "hidden_size": 48, "word_embed_proj_dim": 48, "ffn_dim": 80, "num_hidden_layers": 2,
        "num_attention_heads": 4, "max_position_embeddings": 64, "pad_token_id": 0,
    }),
    "bert": ("BertForMaskedLM", ENCODER),
    "bert_classifier": ("BertForSequenceClassification", ENCODER),
    "roberta": ("RobertaForSequenceClassification", {**ENCODER, "pad_token_id": 1}),
    "albert": ("AlbertForMaskedLM", {**ENCODER, "embedding_size": 24}),
    "electra": ("ElectraForSequenceClassification", {**ENCODER, "embedding_size": 24}),
    "distilbert": ("DistilBertForMaskedLM", {
        "vocab_size": VOCABULARY, "dim": 48, "hidden_dim": 80, "n_layers": 2, "n_heads": 4,
        "max_position_embeddings": 64,
    }),
    "deberta_v2": ("DebertaV2ForSequenceClassification", {
        **ENCODER, "relative_attention": True, "pos_att_type": ["p2c", "c2p"], "max_relative_positions": 16,
    }),
}  # fmt: skip
"""Name -> (class, configuration) of models that read tokens."""

PICTURES = {
    "vit": ("ViTForImageClassification", VISION),
    "deit": ("DeiTForImageClassification", VISION),
    "beit": ("BeitForImageClassification", VISION),
    "dinov2": ("Dinov2ForImageClassification", {**VISION, "mlp_ratio": 2}),
    "siglip": ("SiglipForImageClassification", {"vision_config": VISION}),
    "swin": ("SwinForImageClassification", {
        "image_size": 64, "patch_size": 4, "window_size": 4, "embed_dim": 24, "depths": [2, 2], "num_heads": [2, 4],
    }),
    "segformer": ("SegformerForSemanticSegmentation", {
        "num_encoder_blocks": 2, "depths": [1, 1], "sr_ratios": [4, 2], "hidden_sizes": [24, 48], "patch_sizes": [7, 3],
        "strides": [4, 2], "num_attention_heads": [1, 2], "mlp_ratios": [2, 2], "decoder_hidden_size": 32,
    }),
    "convnext": ("ConvNextForImageClassification", {"hidden_sizes": [16, 24, 32, 48], "depths": [1, 1, 2, 1]}),
    "resnet": ("ResNetForImageClassification", {
        "embedding_size": 16, "hidden_sizes": [24, 32], "depths": [1, 2], "layer_type": "bottleneck",
    }),
    "mobilevit": ("MobileViTForImageClassification", {
        "hidden_sizes": [24, 32, 40], "neck_hidden_sizes": [8, 8, 12, 16, 24, 32, 64], "num_attention_heads": 4,
        "image_size": 64,
    }),
    "detr": ("DetrForObjectDetection", {
        "use_timm_backbone": False, "use_pretrained_backbone": False, "d_model": 32, "encoder_layers": 1,
        "decoder_layers": 1, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48, "encoder_attention_heads": 4,
        "decoder_attention_heads": 4, "num_queries": 5,
    }),
}  # fmt: skip
"""Name -> (class, configuration) of models that see one image."""


def entries():
    """All configurations."""
    language = [(name, partial(read, *of)) for name, of in LANGUAGE.items()]
    vision = [(name, partial(look, *of)) for name, of in PICTURES.items()]
    others = [("clip", clip), ("whisper", whisper), ("t5", t5), ("bart", bart), ("wav2vec2", wav2vec2)]
    return [Entry("transformers", name, build) for name, build in (*language, *vision, *others)]


def create(kind, **options):
    """A model with random weights that returns a plain result and keeps no cache."""
    model_class = getattr(transformers, kind)
    torch.manual_seed(0)
    config = model_class.config_class(**options)
    config.use_cache = False
    return enliven(model_class(config))


def read(kind, config):
    return Case(create(kind, **config), {"input_ids": tokens(VOCABULARY)})


def look(kind, config):
    if kind.startswith("Detr"):
        stages = {"embedding_size": 16, "hidden_sizes": [24, 32], "depths": [1, 1], "out_features": ["stage2"]}
        config = {**config, "backbone_config": transformers.ResNetConfig(**stages)}
    return Case(
        create(kind, **config), {"pixel_values": images(config.get("vision_config", config).get("image_size", 64))}
    )


def clip():
    model = create("CLIPModel", text_config=CLIP_TEXT, vision_config=VISION, projection_dim=32)
    return Case(model, {"input_ids": tokens(VOCABULARY), "pixel_values": images(PIXELS)})


def whisper():
    sizes = {"num_mel_bins": 16, "max_source_positions": 20, "max_target_positions": 20}
    sound = torch.rand(2, 16, 40, generator=torch.Generator().manual_seed(0))
    model = create("WhisperForConditionalGeneration", **SEQUENCE, **sizes)
    return Case(model, {"input_features": sound, "decoder_input_ids": tokens(VOCABULARY, 6)})


def t5():
    sizes = {"vocab_size": VOCABULARY, "d_model": 48, "d_kv": 12, "d_ff": 80, "num_layers": 2, "num_heads": 4}
    model = create("T5ForConditionalGeneration", **sizes, decoder_start_token_id=0)
    return Case(model, {"input_ids": tokens(VOCABULARY), "decoder_input_ids": tokens(VOCABULARY, 6)})


def bart():
    model = create("BartForConditionalGeneration", **SEQUENCE, max_position_embeddings=64)
    return Case(model, {"input_ids": tokens(VOCABULARY), "decoder_input_ids": tokens(VOCABULARY, 6)})


def wav2vec2():
    sizes = {k: v for k, v in ENCODER.items() if k != "max_position_embeddings"}
    layers = {"conv_dim": (16, 24), "conv_stride": (4, 4), "conv_kernel": (8, 4), "num_feat_extract_layers": 2}
    positions = {"num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 4}
    model = create("Wav2Vec2ForCTC", **sizes, **layers, **positions, mask_time_prob=0.0, layerdrop=0.0)
    return Case(model, {"input_values": torch.rand(2, 320, generator=torch.Generator().manual_seed(0))})
