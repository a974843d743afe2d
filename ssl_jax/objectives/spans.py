# SPDX-License-Identifier: Apache-2.0
"""Where in a context a question's answer begins and ends (Devlin et al. 2019, sections 4.2 and 4.3).

B rows, T positions, D width.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ssl_jax import nn
from ssl_jax.data.plan_windows import ELSEWHERE
from ssl_jax.objectives.reading import marked_text
from ssl_jax.objectives.rows import lay_out_texts, require, texts_spec
from ssl_jax.objectives.terms import cross_entropy_terms
from ssl_jax.types import Batch, Example, Mean, Meta, Objective, Rng, Row

PADDING = -1e30  # a padded position's logit: finite, so that a row of nothing else gives no NaN


@dataclass(frozen=True, kw_only=True)
class SpanPrediction(Objective):
    """Predict the first and the last token of the answer; [CLS] as both where it isn't in the window.

    A row is `[CLS] question [SEP] context [SEP]`, a window of data.Windows.  Fields of a batch: tokens,
    types, segments [B, T] int32; start, end [B] int32, positions; weight [B] float32, 0 where the answer
    isn't known or the row's label is ELSEWHERE.

    Loss, in nats, with w the weights, s and e the logits of the two vectors (one kernel [D, 2]) and R the
    rows of the whole global batch:

        loss = sum over b in R of  -w[b] * (log softmax(s[b])[start[b]] + log softmax(e[b])[end[b]]) / 2
               / sum over b of w[b]

    Both softmaxes are over the positions that aren't padding: specials, question and context.  On rows that
    are full this is the loss of `transformers` (BertForQuestionAnswering); that one, and BERT's, also count
    the padded positions, whose logits mean nothing, so that it changes with the length of the padding.
    Metric: accuracy, of starts and ends alike.
    """

    def bind(self, meta: Meta) -> "SpanPrediction":
        """Raises UserError where the tokenizer lacks a special token."""
        require("SpanPrediction", meta, self.plan, ("cls", "sep"), "Windows()")
        return super().bind(meta)

    def spec(self) -> dict[str, Any]:
        place = jax.ShapeDtypeStruct((), np.int32)
        weight = jax.ShapeDtypeStruct((), np.float32)
        return {**texts_spec(self.plan.length), "start": place, "end": place, "weight": weight}

    def example(self, row: Row, rng: Rng) -> Example:
        specials = self.meta.tokenizer.specials
        fields = lay_out_texts(self.plan.length, specials.pad, specials.cls, specials.sep, row.parts)
        first = len(row.parts[0].tokens) + 2
        known = row.label not in (None, ELSEWHERE)
        start, end = (first + token for token in row.label) if known and row.label else (0, 0)
        place = lambda position: np.array(position, np.int32)
        return {**fields, "start": place(start), "end": place(end), "weight": np.float32(known)}

    def heads(self, trunk: Any, rngs: Any) -> dict[str, Any]:
        return {"span": nn.TokenClassifier(trunk, 2, rngs=rngs)}

    def logits(self, model: Any, batch: Batch, key: Any = None) -> Float[Array, "B 2 T"]:
        """float32: of the start, and of the end.  As published, no dropout but the trunk's."""
        states = model.encode(batch["tokens"], batch["segments"], batch["types"], key)
        return model.heads["span"](states).astype(jnp.float32).swapaxes(1, 2)

    def loss(self, model: Any, extra: Any, batch: Batch, key: Any) -> dict[str, Mean]:
        real = (batch["segments"] > 0)[:, None]
        logits = jnp.where(real, self.logits(model, batch, key), PADDING)
        targets = jnp.stack([batch["start"], batch["end"]], axis=1)
        weights = jnp.stack([batch["weight"]] * 2, axis=1)
        nll, accuracy = cross_entropy_terms(logits, targets, weights, logits.shape[-1])
        return {"nll": nll, "accuracy": accuracy}

    def predict(self, model: Any, batch: Batch) -> dict[str, Any]:
        """start, end [B, T] float32: logits.  `answers.find` makes answers of them."""
        logits = self.logits(model, batch)
        return {"start": logits[:, 0], "end": logits[:, 1]}

    def show(self, example: Example) -> str:
        """The question, and the window with ⟦the answer⟧ in it."""
        tokens = example["tokens"][example["segments"] > 0]
        context = int(np.argmax(example["types"])) if example["types"].any() else len(tokens)
        start, end = int(example["start"]), int(example["end"])
        ids, marks = tokens[context:-1], {}
        answer = "not in this window" if example["weight"] else "unknown, or in another window"
        if end > 0:
            answer = marked_text(self.meta, tokens[start : end + 1], {})
            ids = np.concatenate([tokens[context : start + 1], tokens[end + 1 : -1]])
            marks = {start - context: f"⟦{answer}⟧"}
        return "\n".join(
            [
                f"question: {marked_text(self.meta, tokens[1 : context - 1], {})}",
                f"window: {marked_text(self.meta, ids, marks)}",
                f"answer: {answer}",
                f"{len(example['tokens']) - len(tokens)} of {len(example['tokens'])} positions are padding",
            ]
        )
