# SPDX-License-Identifier: Apache-2.0
"""Heads: hidden states to predictions.  They hold none of the trunk's Params; a tied head gets the table.

Each is made from a trunk, whose spec says how it is built (width, activation, norm, biases), and hands
logits back in the compute dtype, over the padded vocabulary: nn.cross_entropy leaves the padding out.
"""

from typing import Any

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key

from ssl_jax import parallel
from ssl_jax.nn.dense import Dense, dense, dropout
from ssl_jax.nn.embeddings import draw_table, gathered
from ssl_jax.nn.norms import Norm
from ssl_jax.nn.positions import first_position
from ssl_jax.nn.spec import Activation, param


def vocabulary_logits(
    x: Float[Array, "*lead D"], table: Float[Array, "V D"], bias: Float[Array, " V"] | None = None
) -> Float[Array, "*lead V"]:
    """x table^T (+ bias), in x's dtype.  Each tensor shard has its own entries, and keeps them."""
    y = dense(x, gathered(table).T, bias)
    return parallel.shard(y, "batch", *("length",) * (y.ndim - 2), "vocab")


class Transform(nnx.Module):
    """norm(act(dense x)): what stands before the predictions of an encoder."""

    def __init__(self, trunk: Any, *, rngs: nnx.Rngs):
        spec = trunk.spec
        # A gated SiLU trunk still predicts as BERT does.
        self.activation = spec.activation if spec.activation is not Activation.SILU else Activation.GELU
        self.dense = Dense(spec, spec.dim, spec.dim, names=("embed", None), rngs=rngs)
        self.norm = Norm(spec, spec.dim)

    def transform(self, x: Float[Array, "*lead D"]) -> Float[Array, "*lead D"]:
        return self.norm(self.activation(self.dense(x)))


class MlmHead(Transform):
    """norm(act(dense x)) table^T + bias: BERT's head (Devlin et al. 2019), or ModernBERT's, by the spec.

    Without tying (spec.tied) the head has a table of its own, and the one given is ignored.
    """

    def __init__(self, trunk: Any, *, rngs: nnx.Rngs):
        super().__init__(trunk, rngs=rngs)
        spec = trunk.spec
        self.bias = param(jnp.zeros(spec.padded_vocab), "vocab")
        self.table = None if spec.tied else draw_table(spec, rngs)

    def __call__(self, x: Float[Array, "*lead D"], table: Float[Array, "V D"]) -> Float[Array, "*lead V"]:
        x = self.transform(x)
        return vocabulary_logits(x, table if self.table is None else self.table[...], self.bias[...])


class LmHead(nnx.Module):
    """x table^T: no parameters, or without tying (spec.tied) a table of its own."""

    def __init__(self, trunk: Any, *, rngs: nnx.Rngs):
        self.table = None if trunk.spec.tied else draw_table(trunk.spec, rngs)

    def __call__(self, x: Float[Array, "*lead D"], table: Float[Array, "V D"]) -> Float[Array, "*lead V"]:
        return vocabulary_logits(x, table if self.table is None else self.table[...])


class Pooler(Transform):
    """One vector a row, from its first position: tanh(dense x) (Devlin et al. 2019), or where the trunk is
    pre-norm the Transform (ModernBERT, Warner et al. 2024)."""

    def __init__(self, trunk: Any, *, rngs: nnx.Rngs):
        super().__init__(trunk, rngs=rngs)
        if trunk.spec.post_norm:
            self.norm = None

    def __call__(self, x: Float[Array, "B T D"]) -> Float[Array, "B D"]:
        first = first_position(x)
        y = jnp.tanh(self.dense(first)) if self.norm is None else self.transform(first)
        return parallel.shard(y, "batch", None)


class Classifier(nnx.Module):
    """A linear layer from so many vectors, one after another, to num_classes; dropout before it where a key
    is given."""

    def __init__(self, trunk: Any, num_classes: int, *, vectors: int = 1, bias: bool = True, rngs: nnx.Rngs):
        spec = trunk.spec
        self.dropout = spec.dropout
        self.kernel = param(spec.draw(rngs, vectors * spec.dim, num_classes), "embed", None)
        self.bias = param(jnp.zeros(num_classes), None) if bias else None

    def __call__(
        self, x: Float[Array, "*lead D"], key: Key[Array, ""] | None = None
    ) -> Float[Array, "*lead C"]:
        bias = None if self.bias is None else self.bias[...]
        y = dense(dropout(x, self.dropout, key), self.kernel[...], bias)
        return parallel.shard(y, "batch", *("length",) * (y.ndim - 2), None)


class TokenClassifier(Classifier):
    """A Classifier for every position; on a pre-norm trunk that sees both sides behind a Transform, as
    ModernBERT has it."""

    def __init__(self, trunk: Any, num_classes: int, *, rngs: nnx.Rngs):
        super().__init__(trunk, num_classes, rngs=rngs)
        encoder = not trunk.spec.post_norm and not trunk.spec.causal
        self.hidden = Transform(trunk, rngs=rngs) if encoder else None

    def __call__(
        self, x: Float[Array, "*lead D"], key: Key[Array, ""] | None = None
    ) -> Float[Array, "*lead C"]:
        return super().__call__(x if self.hidden is None else self.hidden.transform(x), key)
