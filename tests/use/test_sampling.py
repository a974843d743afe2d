# SPDX-License-Identifier: Apache-2.0
"""Which tokens may be drawn, and how often: against plain numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssl_jax.use.sampling import Sampling, choose

VOCAB, DRAWS = 11, 4000
LOGITS = np.random.default_rng(0).normal(0, 1.5, VOCAB).astype(np.float32)


def expected(sampling: Sampling) -> np.ndarray:
    """The probabilities [V], one rule after the other, as the papers have them."""
    p = np.exp(LOGITS.astype(np.float64) / sampling.temperature)
    p /= p.sum()
    order = np.argsort(-p)
    if sampling.top_k:
        p[order[sampling.top_k :]] = 0
        p /= p.sum()
    total, nucleus = 0.0, []
    for i in order:
        if total >= sampling.top_p:
            break
        nucleus.append(i)
        total += p[i]
    p[np.setdiff1d(order, nucleus)] = 0
    p[p < sampling.min_p * p.max()] = 0
    return p / p.sum()


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(temperature=1.0),
        Sampling(temperature=0.5, top_k=3),
        Sampling(temperature=2.0, top_p=0.7),
        Sampling(temperature=1.5, min_p=0.2),
        Sampling(temperature=1.3, top_k=8, top_p=0.8, min_p=0.15),
        Sampling(temperature=1.0, top_k=50, top_p=0.01),
    ],
)
def test_tokens_are_drawn_as_often_as_they_should_be(sampling):
    keys = jax.random.split(jax.random.key(0), DRAWS)
    drawn = jax.jit(choose)(jnp.tile(LOGITS, (DRAWS, 1)), keys, sampling)
    share, p = np.bincount(drawn, minlength=VOCAB) / DRAWS, expected(sampling)
    assert (share[p == 0] == 0).all()
    np.testing.assert_allclose(share, p, atol=4 * np.sqrt(0.25 / DRAWS))


def test_temperature_0_is_the_likeliest():
    keys = jax.random.split(jax.random.key(0), 2)
    assert jax.jit(choose)(jnp.stack([LOGITS, -LOGITS]), keys, Sampling()).tolist() == [
        LOGITS.argmax(),
        LOGITS.argmin(),
    ]
