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
from ssl_jax.nn.spec import Activation, Spec, param


def vocabulary_logits(
    x: Float[Array, "*lead D"], table: Float[Array, "V D"], bias: Float[Array, " V"] | None = None
) -> Float[Array, "*lead V"]:
    """x table^T (+ bias), in x's dtype."""
    return dense(x, gathered(table).T, bias)


def head_activation(spec: Spec) -> Activation:
    """The trunk's; a gated SiLU trunk still predicts as BERT does."""
    return spec.activation if spec.activation is not Activation.SILU else Activation.GELU


class MlmHead(nnx.Module):
    """norm(act(dense x)) table^T + bias: BERT's head (Devlin et al. 2019), or ModernBERT's, by the spec.

    Without tying (spec.tied) the head has a table of its own, and the one given is ignored.
    """

    def __init__(self, trunk: Any, *, rngs: nnx.Rngs):
        spec = trunk.spec
        self.activation = head_activation(spec)
        self.dense = Dense(spec, spec.dim, spec.dim, names=("embed", None), rngs=rngs)
        self.norm = Norm(spec, spec.dim)
        self.bias = param(jnp.zeros(spec.padded_vocab), "vocab")
        self.table = None if spec.tied else draw_table(spec, rngs)

    def __call__(self, x: Float[Array, "*lead D"], table: Float[Array, "V D"]) -> Float[Array, "*lead V"]:
        x = self.norm(self.activation(self.dense(x)))
        return vocabulary_logits(x, table if self.table is None else self.table[...], self.bias[...])


class LmHead(nnx.Module):
    """x table^T: no parameters, or without tying (spec.tied) a table of its own."""

    def __init__(self, trunk: Any, *, rngs: nnx.Rngs):
        self.table = None if trunk.spec.tied else draw_table(trunk.spec, rngs)

    def __call__(self, x: Float[Array, "*lead D"], table: Float[Array, "V D"]) -> Float[Array, "*lead V"]:
        return vocabulary_logits(x, table if self.table is None else self.table[...])


class Pooler(nnx.Module):
    """One vector a row, from its first position: tanh(dense x) (Devlin et al. 2019), or where the trunk is
    pre-norm norm(act(dense x)) (ModernBERT, Warner et al. 2024)."""

    def __init__(self, trunk: Any, *, rngs: nnx.Rngs):
        spec = trunk.spec
        self.activation = head_activation(spec)
        self.dense = Dense(spec, spec.dim, spec.dim, names=("embed", None), rngs=rngs)
        self.norm = None if spec.post_norm else Norm(spec, spec.dim)

    def __call__(self, x: Float[Array, "B T D"]) -> Float[Array, "B D"]:
        y = self.dense(parallel.shard(x[:, 0], "batch", None))  # unpinned, fsdp would gather the rows
        y = jnp.tanh(y) if self.norm is None else self.norm(self.activation(y))
        return parallel.shard(y, "batch", None)


class Classifier(nnx.Module):
    """A linear layer to num_classes; dropout before it where a key is given."""

    def __init__(self, trunk: Any, num_classes: int, *, bias: bool = True, rngs: nnx.Rngs):
        spec = trunk.spec
        self.dropout = spec.dropout
        self.kernel = param(spec.draw(rngs, spec.dim, num_classes), "embed", None)
        self.bias = param(jnp.zeros(num_classes), None) if bias else None

    def __call__(
        self, x: Float[Array, "*lead D"], key: Key[Array, ""] | None = None
    ) -> Float[Array, "*lead C"]:
        bias = None if self.bias is None else self.bias[...]
        y = dense(dropout(x, self.dropout, key), self.kernel[...], bias)
        return parallel.shard(y, "batch", *(None,) * (y.ndim - 1))
