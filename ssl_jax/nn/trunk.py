# SPDX-License-Identifier: Apache-2.0
"""The trunk of every text model: embeddings and a stack of blocks, as the spec says.

B rows, T positions, D width, V vocabulary (padded).
"""

from flax import nnx
from jaxtyping import Array, Float, Int, Key

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

    @property
    def table(self) -> Float[Array, "V D"]:
        """The token table, for tied heads."""
        return self.embeddings.tokens[...]
