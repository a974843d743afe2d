# SPDX-License-Identifier: Apache-2.0
"""Reading piece by piece, with the keys and values of what was read before, equals reading at once."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssl_jax import nn
from tests.nn.common import QUICK, TINY, VOCAB, made

LENGTHS, SLOTS = (9, 4), 14  # tokens of each row read first; slots of the cache
CONFIGS = {
    "gpt": TINY["gpt"],
    "qwen": TINY["qwen"],
    "local": dataclasses.replace(TINY["qwen"], global_every=3, first_attention_norm=False),
    "global": dataclasses.replace(TINY["qwen"], global_every=1),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_pieces_equal_the_whole(name):
    """A first piece padded on the right, then one token, then three: each row at positions of its own."""
    graphdef, params = made(CONFIGS[name])
    tokens = jnp.asarray(np.random.default_rng(0).integers(0, VOCAB, (2, SLOTS)).astype(np.int32))

    @partial(jax.jit, compiler_options=QUICK)
    def whole(params):
        return nn.merge(graphdef, params).encode(tokens, jnp.ones_like(tokens))

    @partial(jax.jit, compiler_options=QUICK)
    def pieces(params):
        trunk = nn.merge(graphdef, params).trunk
        cache = jax.tree.map(
            lambda x: x + 1e4, trunk.empty_cache(2, SLOTS)
        )  # what is not written is not seen
        at, states = jnp.zeros((2, 1), jnp.int32), []
        for size in (max(LENGTHS), 1, 3):
            positions = at + jnp.arange(size)
            piece = jnp.take_along_axis(tokens, positions, axis=1)
            piece = jnp.where((size > 3) & (positions >= jnp.asarray(LENGTHS)[:, None]), 0, piece)
            out, new = trunk.after(piece, positions, cache)
            cache = cache.write(new, positions)
            states.append(out)
            at = jnp.asarray(LENGTHS)[:, None] if size > 3 else at + size
        return states

    expected, (first, one, three) = np.asarray(whole(params)), map(np.asarray, pieces(params))
    for row, length in enumerate(LENGTHS):
        got = np.concatenate([first[row, :length], one[row], three[row]])
        np.testing.assert_allclose(got, expected[row, : length + 4], atol=2e-5)
