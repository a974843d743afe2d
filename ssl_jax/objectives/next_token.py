# SPDX-License-Identifier: Apache-2.0
"""Next-token prediction (GPT-2, Radford et al. 2019).  B rows, T positions, P padded vocabulary."""

from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from ssl_jax import nn
from ssl_jax.objectives.reading import marked_text, token_text
from ssl_jax.objectives.rows import lay_out, require
from ssl_jax.objectives.terms import cross_entropy_terms, filled
from ssl_jax.types import Batch, Example, Mean, Meta, Objective, Rng, Row

SHOWN_PAIRS = 6  # at either end of a document


@dataclass(frozen=True, kw_only=True)
class NextToken(Objective):
    """Predict each token from those before it, over documents laid end to end.

    The stream is `[BOS] document [BOS] document ... [BOS]`; a row (plan: `data.Chunks`) reads T tokens of it
    and predicts the T tokens one further on, so that neighbouring rows share one token and every token
    of the stream but the first is predicted exactly once.  BOS closes a document as well as it opens the
    next (GPT-2's `<|endoftext|>`): a document's last token has BOS as its target, and BOS itself belongs to
    the document that it opens.  What goes on from the row before is predicted from this row's part alone.

    Fields of a batch: tokens, targets, segments [B, T] int32 (1, 2, ... a document, 0 padding: a position
    sees its own document only) and weights [B, T] float32 (1 for each prediction, 0 for padding).

    Loss, in nats, with S the set of all predicted positions of the whole global batch:

        lm = -(1 / |S|) * sum over (b, t) in S of  log softmax(logits[b, t])[targets[b, t]]

    Numerator and denominator are summed over all rows, micro-batches and hosts, then divided once.  Bits a
    token are lm / ln 2; perplexity is exp(lm).  Metrics: lm_accuracy (over S), filled (share of positions
    that are not padding).
    """

    def bind(self, meta: Meta) -> "NextToken":
        """Raises UserError where the tokenizer has no bos token, or rows are shorter than 8."""
        require("NextToken", meta, self.plan, ("bos",), "Chunks(length=1024)")
        return super().bind(meta)

    def spec(self) -> dict[str, Any]:
        row = jax.ShapeDtypeStruct((self.plan.length,), np.int32)
        weights = jax.ShapeDtypeStruct((self.plan.length,), np.float32)
        return {"tokens": row, "targets": row, "segments": row, "weights": weights}

    def example(self, row: Row, rng: Rng) -> Example:
        length, specials = self.plan.length, self.meta.tokenizer.specials
        pieces = [
            piece for part in row.parts for piece in ((specials.bos, part) if part.start == -1 else (part,))
        ]
        stream, _, used = lay_out(length + 1, specials.pad, pieces)
        sizes = [len(part.tokens) + (part.start == -1) for part in row.parts]
        document = np.repeat(np.arange(1, len(sizes) + 1, dtype=np.int32), sizes)
        predicts = np.arange(length) < used - 1
        segments = np.zeros(length, np.int32)
        segments[: used - 1] = document[: used - 1]
        return {
            "tokens": np.where(predicts, stream[:-1], np.int32(specials.pad)),
            "targets": np.where(predicts, stream[1:], np.int32(0)),
            "segments": segments,
            "weights": predicts.astype(np.float32),
        }

    def heads(self, trunk: Any, rngs: Any) -> dict[str, Any]:
        return {"lm": nn.LmHead(trunk, rngs=rngs)}

    def loss(self, model: Any, extra: Any, batch: Batch, key: Any) -> dict[str, Mean]:
        states = model.encode(batch["tokens"], batch["segments"], key=key)
        logits = model.heads["lm"](states, model.trunk.table)
        lm, accuracy = cross_entropy_terms(logits, batch["targets"], batch["weights"], self.meta.vocab_size)
        return {"lm": lm, "lm_accuracy": accuracy, "filled": filled(batch["segments"])}

    def show(self, example: Example) -> str:
        """Each document's text, and its first and last pairs of what is read and what must be predicted."""
        bos = self.meta.tokenizer.specials.bos
        lines = []
        for number in range(1, int(example["segments"].max(initial=0)) + 1):
            positions = np.flatnonzero(example["segments"] == number)
            read, targets = example["tokens"][positions], example["targets"][positions]
            begins = "begins here" if read[0] == bos else "goes on from the row before"
            pairs = [
                f"{token_text(self.meta, a)} → {token_text(self.meta, b)}"
                for a, b in zip(read.tolist(), targets.tolist())
            ]
            if len(pairs) > 2 * SHOWN_PAIRS:
                pairs[SHOWN_PAIRS:-SHOWN_PAIRS] = ["…"]
            lines += [
                f"document {number}, positions {positions[0]}..{positions[-1]}, {begins}",
                f"  reads:    {marked_text(self.meta, read, {})}",
                f"  predicts: {marked_text(self.meta, targets, {})}",
                f"  a position each (reads → must predict): {'  '.join(pairs)}",
            ]
        real, length = int(example["weights"].sum()), len(example["tokens"])
        closing = token_text(self.meta, bos)
        lines.append(
            f"{real} predictions ({closing} closes a document); "
            f"{length - real} of {length} positions are padding"
        )
        return "\n".join(lines)
