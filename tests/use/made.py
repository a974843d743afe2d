# SPDX-License-Identifier: Apache-2.0
"""Tiny models with weights drawn from fixed seeds, without a workdir."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from ssl_jax import nn
from ssl_jax.experiment import Pretrained
from ssl_jax.types import Meta
from ssl_jax.weights import Loaded
from tests.models.tiny import drawn

LABELS = ("bad", "fair", "good")


def made(objective: Any, config: Any, tokenizer: Any, *, spread: float = 1.0) -> Loaded:
    """As weights.load has it."""
    meta = Meta(tokenizer=tokenizer, labels=LABELS)
    network = Pretrained(model=config, objective=objective, labels=LABELS)
    objective, config, static = dataclasses.replace(objective, meta=meta), config.bind(meta), {}

    def abstract():
        rngs = nnx.Rngs(0)
        trunk = config.build(rngs)
        static["graphdef"], params = nn.split(nn.Model(trunk, objective.heads(trunk, rngs)))
        return params

    params = jax.tree.map(jnp.asarray, drawn(jax.eval_shape(abstract), spread=spread))
    return Loaded(None, network, objective, meta, nn.merge(static["graphdef"], params))
