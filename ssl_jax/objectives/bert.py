# SPDX-License-Identifier: Apache-2.0
"""BERT's pretraining: masked language model and next sentence prediction (Devlin et al. 2019, section 3.1).

B rows, T positions, K masked slots a row, D width.
"""

import functools
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax import nn
from ssl_jax.objectives.masked_lm import masked_spec, masked_terms
from ssl_jax.objectives.masking import Drawable, Masking, drawable
from ssl_jax.objectives.reading import LEGEND, mask_summary, masked_text
from ssl_jax.objectives.rows import lay_out, require
from ssl_jax.objectives.terms import cross_entropy_terms, filled
from ssl_jax.types import Batch, Example, Mean, Meta, Objective, Rng, Row, UserError


@dataclass(frozen=True, kw_only=True)
class BertPretraining(Objective):
    """Predict hidden tokens, and whether the second sentence follows the first.

    A row is `[CLS] A [SEP] B [SEP]` (plan: `data.Pairs`).  Fields of a batch: tokens, types (0 up to the
    first [SEP], then 1) and segments (1, padding 0) [B, T] int32; where, targets [B, K] int32 and weights
    [B, K] float32; is_random [B] int32 (1: B comes from another document).

    Loss, in nats, with M the set of all masked positions and R the rows of the whole global batch:

        mlm  = -(1 / |M|) * sum over (b, t) in M of  log softmax(logits[b, t])[original token at (b, t)]
        nsp  = -(1 / |R|) * sum over b in R of  log softmax(W tanh(pool(h[b, 0])) + c)[is_random[b]]
        loss = mlm + nsp                                                                 (unweighted)

    mlm is a mean over masked positions, not over rows: numerator and denominator are summed over all rows,
    micro-batches and hosts, then divided once.  Metrics: mlm_accuracy (over M), nsp_accuracy (over R), filled
    (share of positions that are not padding).
    """

    masking: Masking = field(default_factory=Masking)

    def bind(self, meta: Meta) -> "BertPretraining":
        """Raises UserError where the tokenizer has no cls, sep or mask token, or rows are shorter than 8."""
        require("BertPretraining", meta, self.plan, ("cls", "sep", "mask"), "Pairs(length=128)")
        return super().bind(meta)

    def spec(self) -> dict[str, Any]:
        row = jax.ShapeDtypeStruct((self.plan.length,), np.int32)
        return {
            "tokens": row,
            "types": row,
            "segments": row,
            **masked_spec(self.masking.slots(self.plan.length)),
            "is_random": jax.ShapeDtypeStruct((), np.int32),
        }

    def example(self, row: Row, rng: Rng) -> Example:
        if len(row.parts) != 2 or row.label is None:
            raise UserError("BertPretraining reads labelled pairs: set objective.plan=Pairs(length=...)")
        specials = self.meta.tokenizer.specials
        first, second = row.parts
        pieces = (specials.cls, first, specials.sep, second, specials.sep)
        tokens, word_starts, used = lay_out(self.plan.length, specials.pad, pieces)
        masked = self.masking.apply(tokens, word_starts, self._drawable, rng)
        position = np.arange(self.plan.length)
        real = position < used
        return {
            **masked._asdict(),
            "types": (real & (position >= len(first.tokens) + 2)).astype(np.int32),
            "segments": real.astype(np.int32),
            "is_random": np.asarray(row.label, np.int32),
        }

    def heads(self, trunk: Any, rngs: Any) -> dict[str, Any]:
        return {
            "mlm": nn.MlmHead(trunk, rngs=rngs),
            "pooler": nn.Pooler(trunk, rngs=rngs),
            "nsp": nn.Classifier(trunk, 2, rngs=rngs),
        }

    def loss(self, model: Any, extra: Any, batch: Batch, key: Any) -> dict[str, Mean]:
        states = model.encode(batch["tokens"], batch["segments"], batch["types"], key)
        mlm, mlm_accuracy = masked_terms(model, batch, states, self.meta.vocab_size)
        nsp_logits = model.heads["nsp"](model.heads["pooler"](states))
        nsp, nsp_accuracy = cross_entropy_terms(
            nsp_logits[:, None], batch["is_random"][:, None], jnp.ones((len(nsp_logits), 1), jnp.float32), 2
        )
        return {
            "mlm": mlm,
            "nsp": nsp,
            "mlm_accuracy": mlm_accuracy,
            "nsp_accuracy": nsp_accuracy,
            "filled": filled(batch["segments"]),
        }

    def predict(self, model: Any, batch: Batch) -> dict[str, Any]:
        """nsp_logits [B, 2] float32: is next, is random."""
        states = model.encode(batch["tokens"], batch["segments"], batch["types"])
        return {"nsp_logits": model.heads["nsp"](model.heads["pooler"](states)).astype(jnp.float32)}

    def show(self, example: Example) -> str:
        """Both sentences with the hidden tokens marked, and the label."""
        halves = masked_text(self.meta, example, example["segments"] * (1 + example["types"]))
        lines = [f"{'AB'[half - 1]}: {text}" for half, text in halves.items()]
        label = "is from another document" if example["is_random"] else "follows A"
        return "\n".join([*lines, f"label: B {label}", mask_summary(self.meta, example), LEGEND])

    @functools.cached_property
    def _drawable(self) -> Drawable:
        return drawable(self.meta)
