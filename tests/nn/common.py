# SPDX-License-Identifier: Apache-2.0
"""Tiny models of every family, for the tests of nn, models and parallel."""

import dataclasses
import functools
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from ssl_jax import models, nn
from ssl_jax.types import Meta

VOCAB = 100  # padded to 128 inside

# compiler_options of an outermost jax.jit: half the time to compile, and each program runs only once.
QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}

TINY = {
    "bert": models.BertConfig(num_layers=2, dim=32, num_heads=4, mlp_dim=48, max_positions=32, norm_eps=1e-6),
    "gpt": models.GptConfig(num_layers=2, dim=32, num_heads=4, mlp_dim=48, max_positions=32),
    "modern": models.ModernConfig(
        num_layers=3, dim=32, num_heads=4, mlp_dim=24, local_window=6, global_every=2
    ),
    "qwen": models.ModernConfig(
        num_layers=2,
        dim=32,
        num_heads=4,
        num_kv_heads=2,
        head_dim=6,
        mlp_dim=24,
        activation=nn.Activation.SILU,
        norm=nn.NormKind.RMS,
        qk_norm=True,
        causal=True,
        local_window=5,
        global_every=2,
        embedding_norm=False,
        first_attention_norm=True,
    ),
}


def meta(vocab_size: int = VOCAB, vocab_shards: int = 1) -> Meta:
    return Meta(tokenizer=SimpleNamespace(vocab_size=vocab_size), vocab_shards=vocab_shards)


def builder(cfg: models.TextConfig, *, without_dropout: bool = True):
    """rngs -> Model with the heads of BERT's pretraining and of a language model."""
    if without_dropout:
        cfg = dataclasses.replace(cfg, dropout=0.0, attention_dropout=0.0)
    cfg = cfg if cfg.meta else cfg.bind(meta())

    def build(rngs: nnx.Rngs) -> nn.Model:
        trunk = cfg.build(rngs)
        heads = {
            "mlm": nn.MlmHead(trunk, rngs=rngs),
            "lm": nn.LmHead(trunk, rngs=rngs),
            "pooler": nn.Pooler(trunk, rngs=rngs),
            "nsp": nn.Classifier(trunk, 2, rngs=rngs),
        }
        return nn.Model(trunk, heads)

    return build


@functools.cache
def made(cfg: models.TextConfig, **options):
    """(graphdef, params) on one device, drawn by numpy: nothing is compiled.

    Every parameter is away from the special values of an initialisation, but for the vocabulary's padding.
    """
    static = {}

    def abstract():
        static["graphdef"], params = nn.split(builder(cfg, **options)(nnx.Rngs(0)))
        return params

    rng = np.random.default_rng(0)

    def drawn(path, leaf):
        x = rng.normal(path[-1].key == "scale", 0.1, leaf.shape).astype(np.float32)
        if path[-1].key == "tokens":
            x[VOCAB:] = 0
        return jnp.asarray(x)

    params = jax.tree_util.tree_map_with_path(drawn, jax.eval_shape(abstract))
    return static["graphdef"], params
