# SPDX-License-Identifier: Apache-2.0
"""Norms, dense, dropout, cross entropy and gathers against numpy."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given
from hypothesis import strategies as st

from ssl_jax import nn
from tests.nn.common import TINY, meta

SPEC = TINY["bert"].bind(meta()).spec()


@pytest.mark.parametrize("kind", nn.NormKind)
def test_norm_equals_numpy(kind):
    rng = np.random.default_rng(0)
    x = rng.normal(3, 2, size=(2, 5, 8)).astype(np.float32)
    norm = nn.Norm(dataclasses.replace(SPEC, norm=kind, norm_eps=0.1), 8)
    norm.scale[...] = scale = rng.normal(size=8).astype(np.float32)
    expected = x.astype(np.float64)
    if kind is nn.NormKind.LAYER:
        expected = expected - expected.mean(-1, keepdims=True)
    expected = expected / np.sqrt((expected**2).mean(-1, keepdims=True) + 0.1) * scale
    assert (norm.bias is None) == (kind is nn.NormKind.RMS)
    np.testing.assert_allclose(norm(jnp.asarray(x)), expected, atol=1e-5)
    assert norm(jnp.asarray(x, jnp.bfloat16)).dtype == jnp.bfloat16


def test_norm_of_bfloat16_is_computed_in_float32():
    """A mean of 256 in bfloat16 would swallow differences of 1."""
    x = jnp.asarray(256.0 + np.arange(8) * 2.0, jnp.bfloat16)[None]
    y = nn.Norm(SPEC, 8)(x)
    np.testing.assert_allclose(y.astype(np.float32)[0], (np.arange(8) - 3.5) / np.sqrt(5.25), atol=0.01)


@pytest.mark.parametrize("contract", [1, 2])
def test_dense_contracts_the_last_dimensions(contract):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 3, 4, 5)).astype(np.float32)
    kernel = rng.normal(size=(*x.shape[-contract:], 2, 3)).astype(np.float32)
    bias = rng.normal(size=6).astype(np.float32)
    expected = np.tensordot(x.astype(np.float64), kernel, contract) + bias.reshape(2, 3)
    out = nn.dense(*map(jnp.asarray, (x, kernel, bias)), contract=contract)
    np.testing.assert_allclose(out, expected, atol=1e-5)


def test_float32_products_are_float32():
    """A product in TF32 or bfloat16 would be off by 1e-3."""
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(64, 512)), rng.normal(size=(512, 32))
    out = nn.dense(jnp.asarray(x, jnp.float32), jnp.asarray(w, jnp.float32))
    expected = x.astype(np.float32).astype(np.float64) @ w.astype(np.float32)
    np.testing.assert_allclose(out, expected, atol=2e-4 * np.abs(expected).std())


def test_dropout_scales_what_it_keeps():
    x = jnp.ones((100, 100))
    assert nn.dropout(x, 0.3, None) is x
    out = np.asarray(nn.dropout(x, 0.25, jax.random.key(0)))
    assert set(np.unique(out)) == {np.float32(0), np.float32(4 / 3)}
    assert abs((out == 0).mean() - 0.25) < 0.02


@partial(jax.jit, static_argnums=2)
def nll_and_gradient(logits, targets, vocab):
    total = lambda l: (jnp.sum(nll := nn.cross_entropy(l, targets, vocab)), nll)
    (_, nll), gradient = jax.value_and_grad(total, has_aux=True)(logits)
    return nll, gradient


@given(st.sampled_from([1, 4, 9]), st.sampled_from([jnp.float32, jnp.bfloat16]), st.integers(0, 2**31))
def test_cross_entropy_equals_numpy_and_never_counts_padding(vocab, dtype, seed):
    rng = np.random.default_rng(seed)
    logits = jnp.asarray(rng.normal(0, 4, size=(2, 3, 9)), dtype)
    targets = rng.integers(0, vocab, size=(2, 3)).astype(np.int32)
    true = np.asarray(logits, np.float64)[..., :vocab]
    expected = np.log(np.exp(true).sum(-1)) - np.take_along_axis(true, targets[..., None], -1)[..., 0]
    nll, gradient = nll_and_gradient(logits, jnp.asarray(targets), vocab)
    assert nll.dtype == jnp.float32
    np.testing.assert_allclose(nll, expected, atol=1e-5, rtol=1e-5)

    assert gradient.dtype == dtype
    np.testing.assert_array_equal(gradient[..., vocab:], 0)
    softmax = np.exp(true) / np.exp(true).sum(-1, keepdims=True)
    want = softmax - np.eye(vocab)[targets]
    np.testing.assert_allclose(
        np.asarray(gradient, np.float32)[..., :vocab], want, atol=1e-5 if dtype == jnp.float32 else 1e-2
    )


def test_at_positions_reads_each_row_on_its_own():
    x = np.arange(2 * 5 * 3).reshape(2, 5, 3)
    where = np.array([[4, 0], [1, 1]], np.int32)
    np.testing.assert_array_equal(
        nn.at_positions(jnp.asarray(x), jnp.asarray(where)), np.stack([x[0][[4, 0]], x[1][[1, 1]]])
    )
    np.testing.assert_array_equal(
        nn.at_positions(jnp.asarray(x[..., 0]), jnp.asarray(where)), [[12, 0], [18, 18]]
    )


def test_stacked_layers_are_drawn_apart_and_named():
    blocks = nn.stacked(
        lambda *, rngs: nn.Dense(SPEC, 4, 6, names=("embed", "mlp"), rngs=rngs), 3, rngs=nnx.Rngs(0)
    )
    kernel = blocks.kernel[...]
    assert kernel.shape == (3, 4, 6)
    assert not np.array_equal(kernel[0], kernel[1])
    assert blocks.kernel.get_metadata()["axes"] == ("layers", "embed", "mlp")
    assert blocks.bias.get_metadata()["axes"] == ("layers", "mlp")
