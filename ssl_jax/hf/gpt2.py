# SPDX-License-Identifier: Apache-2.0
"""GPT-2."""

from ssl_jax import models
from ssl_jax.hf.families import CLASSIFIER, QKV, SCORE, Family, Head, Use, conv, norm
from ssl_jax.hf.options import Json, Options, ends
from ssl_jax.hf.table import BLOCKS, How, Line
from ssl_jax.types import Specials


def _read_gpt2(options: Options) -> models.GptConfig:
    options.only(
        activation_function="gelu_new",
        scale_attn_weights=True,
        scale_attn_by_inverse_layer_idx=False,
        add_cross_attention=False,
        tie_word_embeddings=True,
    )
    return models.GptConfig(
        num_layers=options("n_layer"),
        dim=options("n_embd"),
        num_heads=options("n_head"),
        mlp_dim=options.get("n_inner", 4 * options("n_embd")),
        max_positions=options("n_positions"),
        dropout=options.same(0.1, "resid_pdrop", "embd_pdrop"),
        attention_dropout=float(options.get("attn_pdrop", 0.1)),
        norm_eps=options.get("layer_norm_epsilon", 1e-5),
        init_std=options.get("initializer_range", 0.02),
    )


def _write_gpt2(config: models.GptConfig, specials: Specials) -> Json:
    return {
        "n_embd": config.dim,
        "n_layer": config.num_layers,
        "n_head": config.num_heads,
        "n_inner": config.mlp_dim or 4 * config.dim,
        "n_positions": config.max_positions,
        "activation_function": "gelu_new",
        "resid_pdrop": config.dropout,
        "embd_pdrop": config.dropout,
        "attn_pdrop": config.attention_dropout,
        "layer_norm_epsilon": config.norm_eps,
        "initializer_range": config.init_std,
        **ends(specials),
        "tie_word_embeddings": True,
    }


_GPT2_LAYER = "transformer.h.{n}."

GPT2 = Family(
    model_types=("gpt2",),
    prefix="transformer.",
    trunk=(
        Line("transformer.wte.weight", ("trunk.embeddings.tokens",), How.ROWS),
        Line("transformer.wpe.weight", ("trunk.embeddings.positions",), How.WHOLE),
        *norm(f"{_GPT2_LAYER}ln_1", f"{BLOCKS}attention_norm"),
        *conv(f"{_GPT2_LAYER}attn.c_attn", *QKV),
        *conv(f"{_GPT2_LAYER}attn.c_proj", f"{BLOCKS}attention.out"),
        *norm(f"{_GPT2_LAYER}ln_2", f"{BLOCKS}mlp_norm"),
        *conv(f"{_GPT2_LAYER}mlp.c_fc", f"{BLOCKS}mlp.up"),
        *conv(f"{_GPT2_LAYER}mlp.c_proj", f"{BLOCKS}mlp.down"),
        *norm("transformer.ln_f", "trunk.stack.final_norm"),
    ),
    heads={
        Use.TRUNK: Head("GPT2Model"),
        Use.NEXT: Head("GPT2LMHeadModel"),
        Use.CLASSES: Head("GPT2ForSequenceClassification", SCORE),
        Use.TAGS: Head("GPT2ForTokenClassification", CLASSIFIER),
    },
    read=_read_gpt2,
    write=_write_gpt2,
    tied={"lm_head.weight": "transformer.wte.weight"},
    ignored=("attn.bias", "attn.masked_bias"),
)
