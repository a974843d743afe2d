# SPDX-License-Identifier: Apache-2.0
"""`config.json` of `transformers` and our model configs, in both directions.

What ours cannot express is never guessed at: every such option is named in one UserError.
"""

import dataclasses
from typing import Any

from ssl_jax import models
from ssl_jax.hf.bert import BERT, ROBERTA
from ssl_jax.hf.families import Family
from ssl_jax.hf.gpt2 import GPT2
from ssl_jax.hf.modern import MODERNBERT, QWEN3
from ssl_jax.hf.options import Json, Options
from ssl_jax.types import Specials, UserError

FAMILIES = (BERT, ROBERTA, GPT2, MODERNBERT, QWEN3)


def read_config(values: Json) -> tuple[Family, models.TextConfig]:
    """The family and our config.  Raises UserError naming what is unknown, missing or inexpressible."""
    kind = values.get("model_type")
    for family in FAMILIES:
        if kind in family.model_types:
            options = Options(values)
            options.only(quantization_config=None)
            config = family.read(options)
            rows = options("vocab_size")
            options.done()
            return family, dataclasses.replace(config, vocab_rows=rows)
    known = ", ".join(name for family in FAMILIES for name in family.model_types)
    raise UserError(f"config.json: model_type={kind!r} is no family that ssl_jax knows ({known})")


def family_of(config: Any) -> Family:
    """The family that a config of ours belongs to, whether or not it fits in every field."""
    match config:
        case models.BertConfig():
            return ROBERTA if config.first_position else BERT
        case models.GptConfig():
            return GPT2
        case models.ModernConfig():
            return QWEN3 if config.causal else MODERNBERT
    raise UserError(f"no architecture of transformers is known for the network {type(config).__name__}")


def write_config(config: models.TextConfig, specials: Specials) -> Json:
    """config.json, but for what depends on heads and labels.  The config must be bound, and fit."""
    family = family_of(config)
    return {
        "model_type": family.model_types[0],
        "vocab_size": config.spec().vocab_size,
        **family.write(config, specials),
    }
