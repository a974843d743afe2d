# SPDX-License-Identifier: Apache-2.0
"""Masked language modelling without sentence pairs, rows packed full (RoBERTa, Liu et al. 2019, section 4.2).

B rows, T positions, K masked slots a row, D width, P padded vocabulary.
"""

import functools
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float

from ssl_jax import nn, parallel
from ssl_jax.objectives.masking import Drawable, Masking, drawable
from ssl_jax.objectives.reading import LEGEND, mask_summary, masked_text
from ssl_jax.objectives.rows import lay_out, require
from ssl_jax.objectives.terms import cross_entropy_terms, filled
from ssl_jax.types import Batch, Example, Mean, Meta, Objective, Rng, Row


@dataclass(frozen=True, kw_only=True)
class MaskedLm(Objective):
    """Predict hidden tokens from both sides, in rows packed with slices of documents.

    A row is `[CLS] tokens [SEP]` for each part that the plan (`data.Packed`) put together; segment ids keep
    the parts from seeing each other.  Fields of a batch: tokens, segments [B, T] int32 (1, 2, ... a part,
    0 padding); where, targets [B, K] int32 and weights [B, K] float32.

    Loss, in nats, with M the set of all masked positions of the whole global batch:

        mlm = -(1 / |M|) * sum over (b, t) in M of  log softmax(logits[b, t])[original token at (b, t)]

    The mean is over masked positions, not over rows: numerator and denominator are summed over all rows,
    micro-batches and hosts, then divided once.  Metrics: mlm_accuracy (over M), filled (share of positions
    that are not padding).
    """

    masking: Masking = field(default_factory=Masking)

    def bind(self, meta: Meta) -> "MaskedLm":
        """Raises UserError where the tokenizer has no cls, sep or mask token, or rows are shorter than 8."""
        require("MaskedLm", meta, self.plan, ("cls", "sep", "mask"), "Packed(length=512)")
        return super().bind(meta)

    def spec(self) -> dict[str, Any]:
        length, slots = self.plan.length, self.masking.slots(self.plan.length)
        return {
            "tokens": jax.ShapeDtypeStruct((length,), np.int32),
            "segments": jax.ShapeDtypeStruct((length,), np.int32),
            **masked_spec(slots),
        }

    def example(self, row: Row, rng: Rng) -> Example:
        specials = self.meta.tokenizer.specials
        pieces = [piece for part in row.parts for piece in (specials.cls, part, specials.sep)]
        tokens, word_starts, _ = lay_out(self.plan.length, specials.pad, pieces)
        masked = self.masking.apply(tokens, word_starts, self._drawable, rng)
        segments = np.zeros(self.plan.length, np.int32)
        at = 0
        for number, part in enumerate(row.parts, start=1):
            segments[at : at + len(part.tokens) + 2] = number
            at += len(part.tokens) + 2
        return {**masked._asdict(), "segments": segments}

    def heads(self, trunk: Any, rngs: Any) -> dict[str, Any]:
        return {"mlm": nn.MlmHead(trunk, rngs=rngs)}

    def loss(self, model: Any, extra: Any, batch: Batch, key: Any) -> dict[str, Mean]:
        states = model.encode(batch["tokens"], batch["segments"], key=key)
        mlm, accuracy = masked_terms(model, batch, states, self.meta.vocab_size)
        return {"mlm": mlm, "mlm_accuracy": accuracy, "filled": filled(batch["segments"])}

    def show(self, example: Example) -> str:
        """Each part on its own, hidden tokens marked with what must be predicted."""
        parts = masked_text(self.meta, example, example["segments"])
        lines = [f"part {number}: {text}" for number, text in parts.items()]
        return "\n".join([*lines, mask_summary(self.meta, example), LEGEND])

    @functools.cached_property
    def _drawable(self) -> Drawable:
        return drawable(self.meta)


def masked_spec(slots: int) -> dict[str, Any]:
    """The fields that masking adds to a row's spec."""
    return {
        "where": jax.ShapeDtypeStruct((slots,), np.int32),
        "targets": jax.ShapeDtypeStruct((slots,), np.int32),
        "weights": jax.ShapeDtypeStruct((slots,), np.float32),
    }


def masked_logits(model: Any, batch: Batch, states: Float[Array, "B T D"]) -> Float[Array, "B K P"]:
    """The MLM head's logits at `where`, and nowhere else: the vocabulary sees K positions of T.

    states: what model.encode made of the batch.  Entries from vocab_size on are padding.
    """
    return model.heads["mlm"](nn.at_positions(states, batch["where"]), model.trunk.table)


def masked_terms(
    model: Any, batch: Batch, states: Float[Array, "B T D"], vocab_size: int
) -> tuple[Mean, Mean]:
    """Cross entropy and accuracy at the masked positions (`cross_entropy_terms`).

    Where a row lies on several devices each takes as many slots; those added to divide weigh nothing.
    """
    batch = {name: parallel.filled_up(batch[name], "length") for name in masked_spec(0)}
    logits = masked_logits(model, batch, states)
    return cross_entropy_terms(logits, batch["targets"], batch["weights"], vocab_size)
