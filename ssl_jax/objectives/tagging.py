# SPDX-License-Identifier: Apache-2.0
"""A label for every word: named entities, parts of speech (Devlin et al. 2019, section 5.3).

B rows, T positions, D width, C labels.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ssl_jax import nn
from ssl_jax.data.plan_tags import place_of
from ssl_jax.objectives.reading import marked_text
from ssl_jax.objectives.rows import lay_out_texts, require, texts_spec
from ssl_jax.objectives.terms import cross_entropy_terms
from ssl_jax.types import Batch, Example, Mean, Meta, Objective, Rng, Row, UserError

OPENING = 1  # [CLS]: a row's part begins behind it


@dataclass(frozen=True, kw_only=True)
class Tagging(Objective):
    """Predict the label of each word at its first token; its other tokens have none.

    A row is `[CLS] tokens [SEP]`.  Fields of a batch: tokens, types, segments and labels [B, T] int32, and
    weights [B, T] float32: 1 at the first token of a word whose label is known, else 0.

    Loss, in nats, over the positions of the whole global batch:

        loss = sum of -w[b, t] * log softmax(logits[b, t])[labels[b, t]]  / sum of w[b, t]

    Metric: accuracy, of the words that have a token.
    """

    def bind(self, meta: Meta) -> "Tagging":
        """Raises UserError where tokenizer, plan and labels don't fit together."""
        require("Tagging", meta, self.plan, ("cls", "sep"), "Tagged(length=128)")
        if len(meta.labels) < 2:
            raise UserError(f"Tagging needs two labels or more; the task has {meta.labels or 'none'}")
        return super().bind(meta)

    def spec(self) -> dict[str, Any]:
        length = self.plan.length
        return {
            **texts_spec(length),
            "labels": jax.ShapeDtypeStruct((length,), np.int32),
            "weights": jax.ShapeDtypeStruct((length,), np.float32),
        }

    def example(self, row: Row, rng: Rng) -> Example:
        """Raises UserError, with file and row, for a label that the model doesn't know."""
        specials, length = self.meta.tokenizer.specials, self.plan.length
        fields = lay_out_texts(length, specials.pad, specials.cls, specials.sep, row.parts)
        labels, weights = np.zeros(length, np.int32), np.zeros(length, np.float32)
        if row.label is not None:
            known = np.array([self._id(row, word) for word in range(len(row.label))], np.int32)
            first = row.fields["first"]
            labels[OPENING + first[first >= 0]] = known[first >= 0]
            weights[OPENING + first[first >= 0]] = 1.0
        return {**fields, "labels": labels, "weights": weights}

    def _id(self, row: Row, word: int) -> int:
        tag = row.label[word]
        if tag not in self.meta.labels:
            raise UserError(
                f"{place_of(row.fields, word)}the label {tag!r} is none of those that the model knows "
                f"({', '.join(self.meta.labels)})"
            )
        return self.meta.labels.index(tag)

    def heads(self, trunk: Any, rngs: Any) -> dict[str, Any]:
        return {"classifier": nn.TokenClassifier(trunk, len(self.meta.labels), rngs=rngs)}

    def logits(self, model: Any, batch: Batch, key: Any = None) -> Float[Array, "B T C"]:
        """In the compute dtype, at every position."""
        keys = (None, None) if key is None else jax.random.split(key)
        states = model.encode(batch["tokens"], batch["segments"], batch["types"], keys[0])
        return model.heads["classifier"](states, keys[1])

    def loss(self, model: Any, extra: Any, batch: Batch, key: Any) -> dict[str, Mean]:
        nll, accuracy = cross_entropy_terms(
            self.logits(model, batch, key), batch["labels"], batch["weights"], len(self.meta.labels)
        )
        return {"nll": nll, "accuracy": accuracy}

    def predict(self, model: Any, batch: Batch) -> dict[str, Any]:
        """labels [B, T] int32: the likeliest at every position; `word_labels` picks those of the words."""
        return {"labels": jnp.argmax(self.logits(model, batch), axis=-1).astype(jnp.int32)}

    def show(self, example: Example) -> str:
        """The words, each with its label behind it."""
        tokens = example["tokens"][example["segments"] > 0]
        real, length = len(tokens), len(example["tokens"])
        firsts = np.flatnonzero(example["weights"] > 0)
        opening, *words = (marked_text(self.meta, run, {}) for run in np.split(tokens[:-1], firsts))
        named = [f"{word}/{self.meta.labels[at]}" for word, at in zip(words, example["labels"][firsts])]
        text = [opening, *named, marked_text(self.meta, tokens[-1:], {})]
        unknown = [] if len(firsts) else ["labels: unknown"]
        return "\n".join([" ".join(text), *unknown, f"{length - real} of {length} positions are padding"])


def word_labels(row: Row, predicted: Int[np.ndarray, " T"], labels: tuple[str, ...]) -> list[str | None]:
    """The label of each of the row's words (host); None where a word has no token of its own.

    predicted: what `Tagging.predict` says of the row.
    """
    return [labels[predicted[OPENING + at]] if at >= 0 else None for at in row.fields["first"].tolist()]
