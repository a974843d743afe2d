# SPDX-License-Identifier: Apache-2.0
"""Configs: published sizes, what is drawn, and what a user can get wrong."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from ssl_jax import models, nn, types
from tests.nn.common import QUICK, TINY, VOCAB, meta

QWEN = models.ModernConfig(
    num_layers=28,
    dim=1024,
    num_heads=16,
    num_kv_heads=8,
    head_dim=128,
    mlp_dim=3072,
    activation=nn.Activation.SILU,
    norm=nn.NormKind.RMS,
    norm_eps=1e-6,
    qk_norm=True,
    causal=True,
    global_every=1,
    global_theta=1e6,
    embedding_norm=False,
    first_attention_norm=True,
)


def shapes(cfg):
    """The abstract parameters of a trunk and an MLM head."""

    def build():
        trunk = cfg.build(nnx.Rngs(0))
        return nn.split(nn.Model(trunk, {"mlm": nn.MlmHead(trunk, rngs=nnx.Rngs(1))}))[1]

    return jax.eval_shape(build)


@pytest.mark.parametrize(
    ("cfg", "vocab", "published"),
    [
        # Counted from transformers' modules of the same name, pooler and heads left out but for MLM's.
        (models.BertConfig(), 30522, 109_482_240 - 590_592 + 590_592 + 1_536 + 30_522),
        (models.GptConfig(), 50257, 124_439_808),
        (models.ModernConfig(), 50368, 149_655_232),
        (QWEN, 151936, 596_049_920),
    ],
)
def test_published_sizes(cfg, vocab, published):
    """Number of parameters, without the vocabulary's padding and what the released model does not have."""
    bound = cfg.bind(meta(vocab))
    tree = shapes(bound)
    padding = bound.meta.padded_vocab - vocab
    table = tree["trunk"]["embeddings"]["tokens"]
    assert table.shape == (vocab + padding, cfg.dim)
    count = sum(leaf.size for leaf in jax.tree.leaves(tree["trunk"])) - padding * cfg.dim
    if cfg.__class__ is not models.GptConfig and cfg is not QWEN:
        count += sum(leaf.size for leaf in jax.tree.leaves(tree["heads"])) - padding
    if not getattr(cfg, "first_attention_norm", True):
        count -= cfg.dim  # layer 0's unused scale
    assert count == published


def test_first_draws():
    """Truncated at two standard deviations where BERT says so; GPT-2's residual projections smaller."""
    bert = nn.split(TINY["bert"].bind(meta()).build(nnx.Rngs(0)))[1]
    tokens = np.asarray(bert["embeddings"]["tokens"])
    assert np.abs(tokens).max() <= 0.04
    assert np.abs(tokens[:VOCAB].std() / 0.02 - 0.8796) < 0.05  # the std of a normal cut at 2 sigma
    cfg = dataclasses.replace(TINY["gpt"], init_std=0.1)
    gpt = nn.split(cfg.bind(meta()).build(nnx.Rngs(0)))[1]["stack"]["blocks"]
    residual = 0.1 / np.sqrt(2 * cfg.num_layers)
    for kernel, std in (
        (gpt["mlp"]["up"], 0.1),
        (gpt["attention"]["value"], 0.1),
        (gpt["mlp"]["down"], residual),
        (gpt["attention"]["out"], residual),
    ):
        assert np.abs(np.asarray(kernel["kernel"]).std() / std - 1) < 0.06
    assert not np.any(gpt["mlp"]["up"]["bias"]) and np.all(gpt["mlp_norm"]["scale"] == 1)


def test_layer_0_without_attention_norm_ignores_its_scale_and_sends_it_no_gradient():
    cfg = TINY["modern"].bind(meta())
    trunk = cfg.build(nnx.Rngs(0))
    graphdef, params = nn.split(trunk)
    ones = jnp.ones((1, 6), jnp.int32)

    def total(params):
        trunk = nn.merge(graphdef, params)
        return jnp.sum(trunk(trunk.embed(ones * jnp.arange(6), ones), ones) ** 3)

    gradient = jax.jit(jax.grad(total), compiler_options=QUICK)(params)["stack"]["blocks"]["attention_norm"][
        "scale"
    ]
    assert not np.any(gradient[0])
    assert np.all(np.any(np.asarray(gradient[1:]) != 0, axis=1))


def test_windows_and_thetas_alternate_as_modernbert():
    spec = models.ModernConfig().bind(meta()).spec()
    assert spec.local[:7] == (False, True, True, False, True, True, False)
    assert spec.thetas[:3] == (160_000.0, 10_000.0, 10_000.0)
    assert spec.window == 64
    assert dataclasses.replace(models.ModernConfig(), causal=True).bind(meta()).spec().window == 127
    assert QWEN.bind(meta()).spec().window is None


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: models.BertConfig(compute_dtype="fp16"), "take float32 or bfloat16"),
        (lambda: models.BertConfig(num_layers=0), "num_layers=0"),
        (lambda: models.GptConfig(dropout=1.0), "dropout=1.0"),
        (lambda: models.GptConfig(num_heads=5).bind(meta()).spec(), "dim=768 does not divide"),
        (lambda: models.ModernConfig(num_kv_heads=5), "num_kv_heads=5"),
        (lambda: models.ModernConfig(head_dim=63), "even"),
        (lambda: models.ModernConfig(global_every=0), "global_every"),
    ],
)
def test_mistakes_are_named(make, text):
    with pytest.raises(types.UserError, match=text):
        make()


def test_rows_longer_than_positions_are_refused():
    trunk = TINY["bert"].bind(meta()).build(nnx.Rngs(0))
    ones = jnp.ones((1, 33), jnp.int32)
    with pytest.raises(types.UserError, match="rows of 33 tokens, but the model has 32 positions"):
        trunk.embed(ones, ones)


def test_configs_are_frozen_hold_no_tokenizer_in_comparisons_and_mark_what_is_free():
    cfg = models.ModernConfig()
    assert cfg.bind(meta()) == cfg
    free = {f.name for f in dataclasses.fields(cfg) if f.metadata.get("free")}
    assert free == {"scan", "remat", "kernel"}
    assert isinstance(cfg, types.ModelConfig)
