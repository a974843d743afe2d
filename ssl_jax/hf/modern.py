# SPDX-License-Identifier: Apache-2.0
"""ModernBERT and Qwen3: the two that the modern trunk can be."""

from collections.abc import Mapping
from typing import Any

from ssl_jax import models, nn
from ssl_jax.hf.families import CLASSIFIER, QKV, SCORE, Family, Head, Lines, Use, linear, norm
from ssl_jax.hf.options import NAMES, Json, Options, ends
from ssl_jax.hf.table import BLOCKS, How, Line
from ssl_jax.types import Specials

FULL, SLIDING = "full_attention", "sliding_attention"


def _theta(options: Options, parameters: Any, old: str, default: float) -> float:
    """RoPE's base, from one entry of rope_parameters, or as older files have it."""
    parameters = parameters or {}
    if (kind := parameters.get("rope_type", "default")) != "default":
        options.refuse(f"RoPE scaling ({kind})")
    return float(parameters.get("rope_theta", options.get(old, default)))


def _global_every(options: Options, kinds: list[str]) -> int:
    """The step of the layers that see the whole row, counted from layer 0."""
    for every in range(1, len(kinds) + 1):
        if kinds == [SLIDING if layer % every else FULL for layer in range(len(kinds))]:
            return every
    options.refuse("layer_types other than every n-th layer from layer 0 on full_attention, the rest sliding")
    return 1


def _kinds(config: models.ModernConfig) -> list[str]:
    return [SLIDING if layer % config.global_every else FULL for layer in range(config.num_layers)]


def _read_modernbert(options: Options) -> models.ModernConfig:
    every = options.get("global_attn_every_n_layers", 3)
    layers = options("num_hidden_layers")
    kinds = options.get("layer_types", [SLIDING if i % every else FULL for i in range(layers)])
    options.only(
        norm_bias=False,
        attention_bias=False,
        mlp_bias=False,
        decoder_bias=True,
        classifier_bias=False,
        rope_scaling=None,
    )
    activation = options.choice("hidden_activation", "gelu")
    head = nn.Activation.GELU if activation is nn.Activation.SILU else activation
    options.only(classifier_activation=NAMES[head])
    rope = options.get("rope_parameters", {})
    return models.ModernConfig(
        num_layers=layers,
        dim=options("hidden_size"),
        num_heads=options("num_attention_heads"),
        mlp_dim=options("intermediate_size"),
        max_positions=options("max_position_embeddings"),
        activation=activation,
        norm_eps=options.get("norm_eps", 1e-5),
        dropout=options.same(0.0, "mlp_dropout", "embedding_dropout"),
        attention_dropout=float(options.get("attention_dropout", 0.0)),
        init_std=options.get("initializer_range", 0.02),
        local_window=options.get("local_attention", 128),
        global_every=_global_every(options, kinds),
        global_theta=_theta(options, rope.get(FULL), "global_rope_theta", 160_000.0),
        local_theta=_theta(options, rope.get(SLIDING), "local_rope_theta", 10_000.0),
        tied=options.get("tie_word_embeddings", True),
    )


def _write_modernbert(config: models.ModernConfig, specials: Specials) -> Json:
    thetas = {FULL: config.global_theta, SLIDING: config.local_theta}
    head = nn.Activation.GELU if config.activation is nn.Activation.SILU else config.activation
    return {
        "hidden_size": config.dim,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "intermediate_size": config.mlp_dim,
        "hidden_activation": NAMES[config.activation],
        "classifier_activation": NAMES[head],
        "max_position_embeddings": config.max_positions,
        "norm_eps": config.norm_eps,
        "norm_bias": False,
        "attention_bias": False,
        "mlp_bias": False,
        "embedding_dropout": config.dropout,
        "mlp_dropout": config.dropout,
        "classifier_dropout": config.dropout,
        "attention_dropout": config.attention_dropout,
        "initializer_range": config.init_std,
        "local_attention": config.local_window,
        "layer_types": _kinds(config),
        "rope_parameters": {k: {"rope_type": "default", "rope_theta": v} for k, v in thetas.items()},
        "pad_token_id": specials.pad,
        "cls_token_id": specials.cls,
        "sep_token_id": specials.sep,
        "bos_token_id": specials.cls,
        "eos_token_id": specials.sep,
        "classifier_pooling": "cls",
        "tie_word_embeddings": config.tied,
    }


def _read_qwen3(options: Options) -> models.ModernConfig:
    options.only(hidden_act="silu", attention_bias=False, rope_scaling=None)
    layers, window = options("num_hidden_layers"), options.get("sliding_window", 4096)
    slides = options.get("use_sliding_window", False)
    begin = options.get("max_window_layers", 28) if slides else layers
    kinds = options.get("layer_types", [FULL if i < begin else SLIDING for i in range(layers)])
    theta = _theta(options, options.get("rope_parameters", {}), "rope_theta", 10_000.0)
    return models.ModernConfig(
        num_layers=layers,
        dim=options("hidden_size"),
        num_heads=options("num_attention_heads"),
        num_kv_heads=options.get("num_key_value_heads", options("num_attention_heads")),
        head_dim=options.get("head_dim", 128),
        mlp_dim=options("intermediate_size"),
        max_positions=options("max_position_embeddings"),
        activation=nn.Activation.SILU,
        norm=nn.NormKind.RMS,
        norm_eps=options.get("rms_norm_eps", 1e-6),
        qk_norm=True,
        causal=True,
        attention_dropout=float(options.get("attention_dropout", 0.0)),
        init_std=options.get("initializer_range", 0.02),
        init_truncated=False,
        scale_residual=False,
        local_window=window,
        global_every=_global_every(options, kinds),
        global_theta=theta,
        local_theta=theta,
        embedding_norm=False,
        first_attention_norm=True,
        tied=options.get("tie_word_embeddings", False),
    )


def _write_qwen3(config: models.ModernConfig, specials: Specials) -> Json:
    kinds = _kinds(config)
    return {
        "hidden_size": config.dim,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "num_key_value_heads": config.num_kv_heads or config.num_heads,
        "head_dim": config.head_dim or config.dim // config.num_heads,
        "intermediate_size": config.mlp_dim,
        "hidden_act": "silu",
        "max_position_embeddings": config.max_positions,
        "rms_norm_eps": config.norm_eps,
        "attention_bias": False,
        "attention_dropout": config.attention_dropout,
        "initializer_range": config.init_std,
        "use_sliding_window": SLIDING in kinds,
        "sliding_window": config.local_window if SLIDING in kinds else None,
        "layer_types": kinds,
        "rope_parameters": {"rope_type": "default", "rope_theta": config.global_theta},
        **ends(specials),
        "tie_word_embeddings": config.tied,
    }


_MODERNBERT = dict(
    gated=True, norm=nn.NormKind.LAYER, qk_norm=False, causal=False, embedding_norm=True,
    first_attention_norm=False,
)  # fmt: skip
_QWEN3 = dict(
    gated=True, norm=nn.NormKind.RMS, qk_norm=True, causal=True, embedding_norm=False,
    first_attention_norm=True, activation=nn.Activation.SILU, dropout=0.0,
)  # fmt: skip


def _differing(config: models.ModernConfig, fixed: Mapping[str, Any]) -> list[str]:
    return [f"model.{name}={getattr(config, name)}" for name in fixed if getattr(config, name) != fixed[name]]


def _modernbert_misfits(config: models.ModernConfig) -> list[str]:
    sizes = dict(num_kv_heads=config.num_heads, head_dim=config.dim // config.num_heads)
    unequal = [name for name, size in sizes.items() if getattr(config, name) not in (None, size)]
    return _differing(config, _MODERNBERT) + [f"model.{name}={getattr(config, name)}" for name in unequal]


def _qwen3_misfits(config: models.ModernConfig) -> list[str]:
    thetas = dict(local_theta=config.global_theta) if config.global_every > 1 else {}
    return _differing(config, _QWEN3 | thetas)


_MODERN_LAYER = "model.layers.{n}."


def _modern_head(ours: str) -> Lines:
    return (*linear("head.dense", f"{ours}.dense"), *norm("head.norm", f"{ours}.norm"))


MODERNBERT = Family(
    model_types=("modernbert",),
    prefix="model.",
    trunk=(
        Line("model.embeddings.tok_embeddings.weight", ("trunk.embeddings.tokens",), How.ROWS),
        *norm("model.embeddings.norm", "trunk.embeddings.norm"),
        *norm(f"{_MODERN_LAYER}attn_norm", f"{BLOCKS}attention_norm", first=1),
        *linear(f"{_MODERN_LAYER}attn.Wqkv", *QKV),
        *linear(f"{_MODERN_LAYER}attn.Wo", f"{BLOCKS}attention.out"),
        *norm(f"{_MODERN_LAYER}mlp_norm", f"{BLOCKS}mlp_norm"),
        *linear(f"{_MODERN_LAYER}mlp.Wi", f"{BLOCKS}mlp.gate", f"{BLOCKS}mlp.up"),
        *linear(f"{_MODERN_LAYER}mlp.Wo", f"{BLOCKS}mlp.down"),
        *norm("model.final_norm", "trunk.stack.final_norm"),
    ),
    heads={
        Use.TRUNK: Head("ModernBertModel"),
        Use.MASKED: Head(
            "ModernBertForMaskedLM",
            (
                *_modern_head("heads.mlm"),
                Line("decoder.weight", ("heads.mlm.table",), How.ROWS),
                Line("decoder.bias", ("heads.mlm.bias",), How.ROWS),
            ),
        ),
        Use.CLASSES: Head("ModernBertForSequenceClassification", _modern_head("heads.pooler") + CLASSIFIER),
        Use.TAGS: Head(
            "ModernBertForTokenClassification", _modern_head("heads.classifier.hidden") + CLASSIFIER
        ),
        Use.SPANS: Head(
            "ModernBertForQuestionAnswering",
            _modern_head("heads.span.hidden") + linear("classifier", "heads.span"),
        ),
    },
    read=_read_modernbert,
    write=_write_modernbert,
    misfits=_modernbert_misfits,
    tied={"decoder.weight": "model.embeddings.tok_embeddings.weight"},
)

QWEN3 = Family(
    model_types=("qwen3",),
    prefix="model.",
    trunk=(
        Line("model.embed_tokens.weight", ("trunk.embeddings.tokens",), How.ROWS),
        *norm(f"{_MODERN_LAYER}input_layernorm", f"{BLOCKS}attention_norm"),
        *linear(f"{_MODERN_LAYER}self_attn.q_proj", f"{BLOCKS}attention.query"),
        *linear(f"{_MODERN_LAYER}self_attn.k_proj", f"{BLOCKS}attention.key"),
        *linear(f"{_MODERN_LAYER}self_attn.v_proj", f"{BLOCKS}attention.value"),
        *norm(f"{_MODERN_LAYER}self_attn.q_norm", f"{BLOCKS}attention.query_norm"),
        *norm(f"{_MODERN_LAYER}self_attn.k_norm", f"{BLOCKS}attention.key_norm"),
        *linear(f"{_MODERN_LAYER}self_attn.o_proj", f"{BLOCKS}attention.out"),
        *norm(f"{_MODERN_LAYER}post_attention_layernorm", f"{BLOCKS}mlp_norm"),
        *linear(f"{_MODERN_LAYER}mlp.gate_proj", f"{BLOCKS}mlp.gate"),
        *linear(f"{_MODERN_LAYER}mlp.up_proj", f"{BLOCKS}mlp.up"),
        *linear(f"{_MODERN_LAYER}mlp.down_proj", f"{BLOCKS}mlp.down"),
        *norm("model.norm", "trunk.stack.final_norm"),
    ),
    heads={
        Use.TRUNK: Head("Qwen3Model"),
        Use.NEXT: Head("Qwen3ForCausalLM", (Line("lm_head.weight", ("heads.lm.table",), How.ROWS),)),
        Use.CLASSES: Head("Qwen3ForSequenceClassification", SCORE),
        Use.TAGS: Head("Qwen3ForTokenClassification", SCORE),
    },
    read=_read_qwen3,
    write=_write_qwen3,
    misfits=_qwen3_misfits,
    tied={"lm_head.weight": "model.embed_tokens.weight"},
    ignored=("rotary_emb.inv_freq",),
)
