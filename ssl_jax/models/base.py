# SPDX-License-Identifier: Apache-2.0
"""What the configs of all text models share."""

import abc
import dataclasses
from dataclasses import dataclass, field
from typing import Any

from flax import nnx

from ssl_jax import nn
from ssl_jax.types import Meta, UserError, bound_field

FREE = {"free": True}  # the field changes how a model is computed, never what: a resumed run may change it


@dataclass(frozen=True, kw_only=True)
class TextConfig(abc.ABC):
    """num_layers blocks of width dim, and how they are computed.

    compute_dtype: "float32" or "bfloat16", of activations and matrix products; parameters, norms, softmax
    and log-sum-exp are float32.  dropout: of embeddings and of what blocks add to the residual stream;
    attention_dropout: of attention weights.  scan: one compiled block in a loop (compiles fast, at any
    depth), or all in a row (steps fast: 1.3x on CPU).  vocab_rows: rows of the token table, where one from
    elsewhere has more than the tokenizer has tokens; the spare ones are never predicted.
    """

    num_layers: int
    dim: int
    num_heads: int
    max_positions: int
    dropout: float = 0.0
    attention_dropout: float = 0.0
    init_std: float = 0.02
    vocab_rows: int | None = None
    compute_dtype: str = "float32"
    scan: bool = field(default=True, metadata=FREE)
    remat: nn.Remat = field(default=nn.Remat.NONE, metadata=FREE)
    kernel: nn.Kernel = field(default=nn.Kernel.XLA, metadata=FREE)
    meta: Meta | None = bound_field()

    def __post_init__(self):
        if self.compute_dtype not in ("float32", "bfloat16"):
            raise UserError(f"model.compute_dtype={self.compute_dtype!r}: take float32 or bfloat16")
        for name in ("num_layers", "dim", "num_heads", "max_positions"):
            if getattr(self, name) < 1:
                raise UserError(f"model.{name}={getattr(self, name)}: take 1 or more")
        for name in ("dropout", "attention_dropout"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise UserError(f"model.{name}={getattr(self, name)}: take a share from 0 to below 1")

    @abc.abstractmethod
    def spec(self) -> nn.Spec:
        """The trunk in full, for the parts to read.  Needs bind."""

    def bind(self, meta: Meta) -> "TextConfig":
        """This config, knowing the vocabulary."""
        return dataclasses.replace(self, meta=meta)

    def build(self, rngs: nnx.Rngs) -> nn.TextTrunk:
        """The trunk, freshly drawn.  Needs bind."""
        return nn.TextTrunk(self.spec(), rngs=rngs)

    def shared(self) -> dict[str, Any]:
        """The fields of nn.Spec that every config takes from here."""
        assert self.meta is not None, "bind before build"
        own = {f.name: getattr(self, f.name) for f in dataclasses.fields(TextConfig)}
        rows = max(own.pop("vocab_rows") or 0, own.pop("meta").vocab_size)
        return {"vocab_size": rows, "padded_vocab": self.meta.padded(rows), **own}

    def divided_dim(self) -> int:
        """dim / num_heads.  Raises UserError where it is not whole."""
        if self.dim % self.num_heads:
            raise UserError(f"model.dim={self.dim} does not divide by model.num_heads={self.num_heads}")
        return self.dim // self.num_heads
