# SPDX-License-Identifier: Apache-2.0
"""Tokens to vectors.  V vocabulary (padded inside), P positions, D width."""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int, Key

from ssl_jax import parallel
from ssl_jax.nn.dense import dropout
from ssl_jax.nn.masks import positions_of
from ssl_jax.nn.norms import Norm
from ssl_jax.nn.spec import Spec, param
from ssl_jax.types import UserError


def draw_table(spec: Spec, rngs: nnx.Rngs) -> nnx.Param:
    """[V_padded, D]: the true vocabulary drawn, then rows of zeros, so padding never changes a draw."""
    drawn = spec.draw(rngs, spec.vocab_size, spec.dim)
    padding = spec.padded_vocab - spec.vocab_size
    return param(jnp.pad(drawn, ((0, padding), (0, 0))), "vocab", "embed")


def gathered(table: Float[Array, "V D"]) -> Float[Array, "V D"]:
    """The table with whole rows on each device: fsdp moves weights, never hidden states."""
    return parallel.shard(table, "vocab", None)


class Embeddings(nnx.Module):
    """Token vectors, plus learned positions and types, then norm and dropout, each if asked for.

    positions, types: [first_position + P, D] and [num_types, D].  Types given where there is none, or but
    one, are ignored, so that an objective of sentence pairs runs on any trunk (the separator tells the parts
    apart).
    """

    def __init__(self, spec: Spec, *, rngs: nnx.Rngs):
        self.spec = spec
        rows = spec.first_position + spec.max_positions
        self.tokens = draw_table(spec, rngs)
        self.positions = self._extra(rows * spec.learned_positions, "positions", rngs)
        self.types = self._extra(spec.num_types, None, rngs)
        self.norm = Norm(spec, spec.dim) if spec.embedding_norm else None

    def _extra(self, count: int, name: str | None, rngs: nnx.Rngs) -> nnx.Param | None:
        return param(self.spec.draw(rngs, count, self.spec.dim), name, "embed") if count else None

    def __call__(
        self,
        tokens: Int[Array, "B T"],
        segments: Int[Array, "B T"],
        types: Int[Array, "B T"] | None = None,
        key: Key[Array, ""] | None = None,
    ) -> Float[Array, "B T D"]:
        if tokens.shape[1] > self.spec.max_positions:
            raise UserError(
                f"rows of {tokens.shape[1]} tokens, but the model has {self.spec.max_positions} positions: "
                "shorten the plan's length or raise model.max_positions"
            )
        return self.at(tokens, positions_of(segments), types, key)

    def at(
        self,
        tokens: Int[Array, "B T"],
        positions: Int[Array, "B T"],
        types: Int[Array, "B T"] | None = None,
        key: Key[Array, ""] | None = None,
    ) -> Float[Array, "B T D"]:
        """Of tokens at these positions of their text."""

        def look_up(table, index):
            return parallel.shard(jnp.take(table, index, axis=0), "batch", "length", None)

        x = look_up(gathered(self.tokens[...]), tokens)
        if self.positions is not None:
            rows = self.spec.first_position + positions
            x = x + look_up(parallel.shard(self.positions[...], None, None), rows)
        if self.types is not None:
            types = jnp.zeros_like(tokens) if types is None or self.spec.num_types == 1 else types
            x = x + look_up(parallel.shard(self.types[...], None, None), types)
        x = parallel.shard(x, "batch", "norm_length", None)
        if self.norm is not None:
            x = self.norm(x)
        return dropout(x, self.spec.dropout, key).astype(self.spec.dtype)
