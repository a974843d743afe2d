# SPDX-License-Identifier: Apache-2.0
"""BERT, and RoBERTa (XLM-R is the same network under another name)."""

from ssl_jax import models
from ssl_jax.hf.families import CLASSIFIER, Family, Head, Lines, Use, linear, norm
from ssl_jax.hf.options import Json, Options
from ssl_jax.hf.table import BLOCKS, How, Line
from ssl_jax.types import Specials


def _read_roberta(options: Options) -> models.BertConfig:
    return _read(options, options.get("pad_token_id", 1) + 1)  # as transformers' create_position_ids counts


def _read_bert(options: Options) -> models.BertConfig:
    return _read(options, 0)


def _read(options: Options, first: int) -> models.BertConfig:
    options.only(
        hidden_act="gelu",
        position_embedding_type="absolute",
        is_decoder=False,
        add_cross_attention=False,
        tie_word_embeddings=True,
    )
    return models.BertConfig(
        num_layers=options("num_hidden_layers"),
        dim=options("hidden_size"),
        num_heads=options("num_attention_heads"),
        mlp_dim=options("intermediate_size"),
        max_positions=options("max_position_embeddings") - first,
        num_types=options.get("type_vocab_size", 2),
        first_position=first,
        dropout=float(options.get("hidden_dropout_prob", 0.1)),
        attention_dropout=float(options.get("attention_probs_dropout_prob", 0.1)),
        norm_eps=options.get("layer_norm_eps", 1e-12),
        init_std=options.get("initializer_range", 0.02),
    )


def _write_bert(config: models.BertConfig, specials: Specials) -> Json:
    return {
        "hidden_size": config.dim,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "intermediate_size": config.mlp_dim or 4 * config.dim,
        "hidden_act": "gelu",
        "hidden_dropout_prob": config.dropout,
        "attention_probs_dropout_prob": config.attention_dropout,
        "max_position_embeddings": config.first_position + config.max_positions,
        "type_vocab_size": config.num_types or 2,
        "initializer_range": config.init_std,
        "layer_norm_eps": config.norm_eps,
        "pad_token_id": specials.pad,
        "bos_token_id": specials.cls,
        "eos_token_id": specials.sep,
        "tie_word_embeddings": True,
    }


def _bert_trunk(prefix: str) -> Lines:
    at, layer, block = f"{prefix}embeddings.", f"{prefix}encoder.layer.{{n}}.", BLOCKS
    return (
        Line(f"{at}word_embeddings.weight", ("trunk.embeddings.tokens",), How.ROWS),
        Line(f"{at}position_embeddings.weight", ("trunk.embeddings.positions",), How.WHOLE),
        Line(f"{at}token_type_embeddings.weight", ("trunk.embeddings.types",), How.WHOLE),
        *norm(f"{at}LayerNorm", "trunk.embeddings.norm"),
        *linear(f"{layer}attention.self.query", f"{block}attention.query"),
        *linear(f"{layer}attention.self.key", f"{block}attention.key"),
        *linear(f"{layer}attention.self.value", f"{block}attention.value"),
        *linear(f"{layer}attention.output.dense", f"{block}attention.out"),
        *norm(f"{layer}attention.output.LayerNorm", f"{block}attention_norm"),
        *linear(f"{layer}intermediate.dense", f"{block}mlp.up"),
        *linear(f"{layer}output.dense", f"{block}mlp.down"),
        *norm(f"{layer}output.LayerNorm", f"{block}mlp_norm"),
    )


_NAMES_OF_2018 = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}
_POOLER = ("pooler.dense.weight", "pooler.dense.bias")
_BERT_POOLER = linear("bert.pooler.dense", "heads.pooler.dense")
_BERT_MLM = (
    *linear("cls.predictions.transform.dense", "heads.mlm.dense"),
    *norm("cls.predictions.transform.LayerNorm", "heads.mlm.norm"),
    Line("cls.predictions.bias", ("heads.mlm.bias",), How.ROWS),
)
_SPANS = linear("qa_outputs", "heads.span")

BERT = Family(
    model_types=("bert",),
    prefix="bert.",
    trunk=_bert_trunk("bert."),
    heads={
        Use.TRUNK: Head("BertModel", _BERT_POOLER),
        Use.PRETRAINING: Head(
            "BertForPreTraining", _BERT_MLM + _BERT_POOLER + linear("cls.seq_relationship", "heads.nsp")
        ),
        Use.MASKED: Head("BertForMaskedLM", _BERT_MLM, spare=_POOLER),
        Use.CLASSES: Head("BertForSequenceClassification", _BERT_POOLER + CLASSIFIER),
        Use.TAGS: Head("BertForTokenClassification", CLASSIFIER),
        Use.SPANS: Head("BertForQuestionAnswering", _SPANS),
    },
    read=_read_bert,
    write=_write_bert,
    tied={
        "cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight",
        "cls.predictions.decoder.bias": "cls.predictions.bias",
    },
    aliases=_NAMES_OF_2018,
    ignored=("embeddings.position_ids",),
    zeros={"bert.embeddings.token_type_embeddings.weight": 2},
)

ROBERTA = Family(
    model_types=("roberta", "xlm-roberta"),  # the same network under two names
    prefix="roberta.",
    trunk=_bert_trunk("roberta."),
    heads={
        Use.TRUNK: Head("RobertaModel", linear("roberta.pooler.dense", "heads.pooler.dense")),
        Use.MASKED: Head(
            "RobertaForMaskedLM",
            (
                *linear("lm_head.dense", "heads.mlm.dense"),
                *norm("lm_head.layer_norm", "heads.mlm.norm"),
                Line("lm_head.bias", ("heads.mlm.bias",), How.ROWS),
            ),
            spare=_POOLER,
        ),
        Use.CLASSES: Head(
            "RobertaForSequenceClassification",
            linear("classifier.dense", "heads.pooler.dense")
            + linear("classifier.out_proj", "heads.classifier"),
        ),
        Use.TAGS: Head("RobertaForTokenClassification", CLASSIFIER),
        Use.SPANS: Head("RobertaForQuestionAnswering", _SPANS),
    },
    read=_read_roberta,
    write=_write_bert,
    tied={
        "lm_head.decoder.weight": "roberta.embeddings.word_embeddings.weight",
        "lm_head.decoder.bias": "lm_head.bias",
    },
    aliases=_NAMES_OF_2018,
    ignored=("embeddings.position_ids",),
    zeros={"roberta.embeddings.token_type_embeddings.weight": 2},
)
