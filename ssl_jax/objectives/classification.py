# SPDX-License-Identifier: Apache-2.0
"""A class or a number for a text or a pair of texts (Devlin et al. 2019, section 4.1).

B rows, T positions, D width, C classes.
"""

import enum
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from ssl_jax import nn
from ssl_jax.objectives.reading import marked_text
from ssl_jax.objectives.rows import lay_out_texts, require, texts_spec
from ssl_jax.objectives.terms import cross_entropy_terms
from ssl_jax.types import Batch, Example, Mean, Meta, Objective, Rng, Row, UserError


class Read(enum.Enum):
    """The vector a text is read from: tanh(dense(first position)) as BERT has it, the first position, the
    mean over all real positions, or the last real position (for trunks that see to the left alone).

    SIDES is for pairs: u and v, the means over either text's positions, as [u, v, |u - v|, u * v] (Conneau et
    al. 2017, "Supervised Learning of Universal Sentence Representations", section 3.1).  A small network
    doesn't have to learn by itself how two texts are compared.
    """

    POOLER = "pooler"
    FIRST = "first"
    MEAN = "mean"
    LAST = "last"
    SIDES = "sides"


@dataclass(frozen=True, kw_only=True)
class Classification(Objective):
    """Predict the class of a text or pair, or with `regression` a number.

    A row is `[CLS] A [SEP]` or `[CLS] A [SEP] B [SEP]`; read from the last position it is
    `[BOS] A [EOS]` or `[BOS] A [EOS] B [EOS]`.  Fields of a batch: tokens, types, segments [B, T] int32;
    label [B] int32 (float32 for a number) and weight [B] float32: the class's, 0 where the label is unknown.

    Loss, in nats, with w the weights and R the rows of the whole global batch:

        loss = sum over b in R of  -w[b] * log softmax(logits[b])[label[b]]  / sum over b of w[b]
        loss = sum over b in R of  w[b] * (logits[b, 0] - label[b])^2  / sum over b of w[b]      (regression)

    class_weights: one a class, in the order of the labels; () is 1 for all.  Metric: accuracy.
    """

    read: Read = Read.POOLER
    regression: bool = False
    class_weights: tuple[float, ...] = ()

    def bind(self, meta: Meta) -> "Classification":
        """Raises UserError where tokenizer, labels and class weights don't fit together."""
        names = ("bos", "eos") if self.read is Read.LAST else ("cls", "sep")
        require("Classification", meta, self.plan, names, "Labelled(length=128)")
        if self.regression and meta.labels:
            raise UserError(
                f"objective.regression is for numbers, but the task has the classes {', '.join(meta.labels)}"
            )
        if not self.regression and len(meta.labels) < 2:
            raise UserError(f"Classification needs two classes or more; the task has {meta.labels or 'none'}")
        if self.read is Read.SIDES and meta.texts == 1:
            raise UserError("objective.read=SIDES compares two texts, but an example of this task has one")
        if self.class_weights and len(self.class_weights) != len(meta.labels):
            raise UserError(
                f"objective.class_weights has {len(self.class_weights)} numbers for {len(meta.labels)} "
                f"classes ({', '.join(meta.labels)})"
            )
        return super().bind(meta)

    @property
    def num_outputs(self) -> int:
        return 1 if self.regression else len(self.meta.labels)

    def spec(self) -> dict[str, Any]:
        return {
            **texts_spec(self.plan.length),
            "label": jax.ShapeDtypeStruct((), np.float32 if self.regression else np.int32),
            "weight": jax.ShapeDtypeStruct((), np.float32),
        }

    def example(self, row: Row, rng: Rng) -> Example:
        specials = self.meta.tokenizer.specials
        ends = (specials.bos, specials.eos) if self.read is Read.LAST else (specials.cls, specials.sep)
        fields = lay_out_texts(self.plan.length, specials.pad, *ends, row.parts)
        if self.regression:
            label = np.float32(0 if row.label is None else row.label)
            weight = np.float32(row.label is not None)
        else:
            label = np.int32(0 if row.label is None else self.meta.labels.index(row.label))
            known = self.class_weights[label] if self.class_weights else 1.0
            weight = np.float32(0.0 if row.label is None else known)
        return {**fields, "label": np.asarray(label), "weight": np.asarray(weight)}

    def heads(self, trunk: Any, rngs: Any) -> dict[str, Any]:
        """Raises UserError where the vector that is read would be the same for every text."""
        if trunk.spec.causal and self.read in (Read.POOLER, Read.FIRST):
            raise UserError(
                f"objective.read={self.read.name}: the first position of a decoder sees no text; "
                "--set objective.read=LAST reads the last one"
            )
        pooler = {"pooler": nn.Pooler(trunk, rngs=rngs)} if self.read is Read.POOLER else {}
        bias, vectors = self.read is not Read.LAST, 4 if self.read is Read.SIDES else 1
        classifier = nn.Classifier(trunk, self.num_outputs, vectors=vectors, bias=bias, rngs=rngs)
        return {**pooler, "classifier": classifier}

    def logits(self, model: Any, batch: Batch, key: Any = None) -> Float[Array, "B C"]:
        """float32; of a number, C is 1."""
        keys = (None, None) if key is None else jax.random.split(key)
        states = model.encode(batch["tokens"], batch["segments"], batch["types"], keys[0])
        if self.read is Read.POOLER:
            vector = model.heads["pooler"](states)
        elif self.read is Read.SIDES:
            vector = sides(states, batch["segments"] > 0, batch["types"])
        else:
            vector = read_vector(states, batch["segments"], self.read)
        return model.heads["classifier"](vector, keys[1]).astype(jnp.float32)

    def loss(self, model: Any, extra: Any, batch: Batch, key: Any) -> dict[str, Mean]:
        logits, weight = self.logits(model, batch, key), batch["weight"]
        if self.regression:
            return {"mse": Mean(jnp.square(logits[:, 0] - batch["label"]) * weight, weight)}
        nll, hit = cross_entropy_terms(
            logits[:, None], batch["label"][:, None], weight[:, None], self.num_outputs
        )
        known = (weight > 0).astype(jnp.float32)
        right = (hit.total[:, 0] > 0).astype(jnp.float32)  # an error is an error, whatever its class weighs
        return {"nll": nll, "accuracy": Mean(right, known, coef=0.0)}

    def predict(self, model: Any, batch: Batch) -> dict[str, Any]:
        """logits [B, C] float32."""
        return {"logits": self.logits(model, batch)}

    def show(self, example: Example) -> str:
        """The texts with their special tokens, and the label."""
        tokens = example["tokens"][example["segments"] > 0]
        known = "unknown" if example["weight"] == 0 else example["label"]
        if example["weight"] > 0 and not self.regression:
            known = self.meta.labels[int(example["label"])]
        real, length = len(tokens), len(example["tokens"])
        return "\n".join(
            [
                marked_text(self.meta, tokens, {}),
                f"label: {known}",
                f"{length - real} of {length} positions are padding",
            ]
        )


def read_vector(
    states: Float[Array, "B T D"], segments: Int[Array, "B T"], read: Read
) -> Float[Array, "B D"]:
    """The first, the last real, or the mean of the real positions."""
    match read:
        case Read.FIRST:
            where = jnp.zeros_like(segments[:, :1])
        case Read.LAST:
            where = jnp.maximum(jnp.sum(segments > 0, axis=1, keepdims=True) - 1, 0)
        case Read.MEAN:
            return mean_over(states, segments > 0)
    return nn.at_positions(states, where)[:, 0]


def mean_over(states: Float[Array, "B T D"], chosen: Bool[Array, "B T"]) -> Float[Array, "B D"]:
    """The mean of each row's chosen positions, summed in float32 (zeros where there is none)."""
    weight = chosen.astype(jnp.float32)[:, :, None]
    total = jnp.sum(states.astype(jnp.float32) * weight, axis=1)
    return (total / jnp.maximum(jnp.sum(weight, axis=1), 1.0)).astype(states.dtype)


def sides(
    states: Float[Array, "B T D"], real: Bool[Array, "B T"], types: Int[Array, "B T"]
) -> Float[Array, "B 4*D"]:
    """[u, v, |u - v|, u * v] of the means u and v over the two texts' positions."""
    u, v = mean_over(states, real & (types == 0)), mean_over(states, real & (types == 1))
    return jnp.concatenate([u, v, jnp.abs(u - v), u * v], axis=-1)
