# SPDX-License-Identifier: Apache-2.0
"""The trunk of every text model: embeddings and a stack of blocks, as the spec says.

B rows, T positions, D width, V vocabulary (padded).
"""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int, Key

from ssl_jax.nn.attention import Cache
from ssl_jax.nn.embeddings import Embeddings
from ssl_jax.nn.spec import Spec
from ssl_jax.nn.stack import Stack


class TextTrunk(nnx.Module):
    """Tokens to hidden states (types.Trunk).  Parameters only; causal or not by its spec."""

    def __init__(self, spec: Spec, *, rngs: nnx.Rngs):
        self.spec = spec
        self.embeddings = Embeddings(spec, rngs=rngs)
        self.stack = Stack(spec, rngs=rngs)

    def embed(
        self,
        tokens: Int[Array, "B T"],
        segments: Int[Array, "B T"],
        types: Int[Array, "B T"] | None = None,
        key: Key[Array, ""] | None = None,
    ) -> Float[Array, "B T D"]:
        """The stack's input.  Raises UserError where T is more than the model has positions."""
        return self.embeddings(tokens, segments, types, key)

    def __call__(
        self,
        x: Float[Array, "B T D"],
        segments: Int[Array, "B T"],
        key: Key[Array, ""] | None = None,
        every: bool = False,
    ) -> Float[Array, "*levels B T D"]:
        """The last hidden states; with every those of all levels, [num_layers + 1, B, T, D], input first."""
        return self.stack(x, segments, key, every)

    def after(
        self, tokens: Int[Array, "B T"], positions: Int[Array, "B T"], past: Cache
    ) -> tuple[Float[Array, "B T D"], Cache]:
        """Of a causal trunk: the last hidden states of tokens at consecutive positions, each row's own, that
        follow those of past; and the keys and values that past lacks (Cache.write)."""
        return self.stack.after(self.embeddings.at(tokens, positions), positions, past)

    def empty_cache(self, rows: int, slots: int) -> Cache:
        """Room for the keys and values of so many positions a row."""
        spec = self.spec
        shape = spec.num_layers, rows, slots, spec.num_kv_heads, spec.head_dim
        return Cache(jnp.zeros(shape, spec.dtype), jnp.zeros(shape, spec.dtype))

    @property
    def table(self) -> Float[Array, "V D"]:
        """The token table, for tied heads."""
        return self.embeddings.tokens[...]
