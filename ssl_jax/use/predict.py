# SPDX-License-Identifier: Apache-2.0
"""What a fine-tuned model says of texts, whatever its head: read as its training read them.

B rows of a batch.
"""

import abc
import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import numpy as np

from ssl_jax import nn
from ssl_jax.data import Labelled, Record, Table
from ssl_jax.data.pipeline import Examples
from ssl_jax.objectives import BertPretraining, Classification
from ssl_jax.objectives.rows import lay_out_texts, texts_spec
from ssl_jax.text import Text
from ssl_jax.types import Example, Rng, Row, UserError
from ssl_jax.use.inputs import Line, batched, power_of_two


@dataclass(frozen=True)
class Labels:
    """The likeliest label, and the probability of each.  cut: not all of the text fits the model."""

    label: str
    probabilities: dict[str, float]
    cut: bool

    def __str__(self) -> str:
        ranked = sorted(self.probabilities.items(), key=lambda item: -item[1])
        return "  ".join(f"{label} {p:.1%}" for label, p in ranked)


@dataclass(frozen=True)
class Number:
    """What a regression says.  cut: not all of the text fits the model."""

    value: float
    cut: bool

    def __str__(self) -> str:
        return f"{self.value:.4g}"


@dataclass(frozen=True)
class Follows:
    """The probability that the second text follows the first.  cut: not all of them fits the model."""

    probability: float
    cut: bool

    def __str__(self) -> str:
        return f"B follows A: {self.probability:.1%}"


Prediction = Labels | Number | Follows


class Predictor:
    """Predictions of a model for any number of texts, batch_size of them at a time; compiled once.

    Raises UserError where the model has no head that says something of a whole text.
    """

    def __init__(self, model: nn.Model, objective: Any, text: Text, batch_size: int = 32):
        self.head = head_of(objective, text)
        self._batch_size = batch_size
        self._text = text
        graphdef, self._params = nn.split(model)
        self._outputs = jax.jit(lambda params, batch: objective.predict(nn.merge(graphdef, params), batch))

    def __call__(self, lines: Iterable[Line]) -> Iterator[Prediction]:
        """One prediction a line, in order.  Raises UserError for a line with too few or too many texts."""
        for chunk in batched(lines, self._batch_size):
            for line in chunk:
                self.head.check(line)
            yield from self._predict([line.texts for line in chunk])

    def _predict(self, texts: Sequence[tuple[str, ...]]) -> Iterator[Prediction]:
        records = [self.head.record(these) for these in texts]
        table = Table(records, self.head.objective.meta.tokenizer, self._text)
        plan = self.head.plan.open(table, seed=0, shuffle=False)
        examples, outputs = Examples(plan, self.head, seed=0), []
        size = min(self._batch_size, power_of_two(plan.num_rows))
        for start in range(0, plan.num_rows, size):
            batch = examples(range(start, start + size), stop_row=plan.num_rows)
            outputs.append(jax.device_get(self._outputs(self._params, batch)))
        rows = [plan[r] for r in range(plan.num_rows)]
        joined = {name: np.concatenate([one[name] for one in outputs]) for name in outputs[0]}
        for number, group in itertools.groupby(range(len(rows)), lambda r: self.head.owner(rows[r])):
            numbers = list(group)
            mine = {name: values[numbers] for name, values in joined.items()}
            yield self.head.prediction(table, number, [rows[r] for r in numbers], mine)


# ------------------------------------------------------------------------------------------ kinds of head


@dataclass(frozen=True)
class Head(abc.ABC):
    """How an objective reads texts that somebody gives it, and what its outputs say.

    spec and example are those of an objective, for the pipeline.
    """

    objective: Any
    text: Text
    reads: ClassVar[str]
    counts: ClassVar[tuple[int, ...]]  # how many texts

    def check(self, line: Line) -> None:
        if len(line.texts) not in self.counts:
            where = line.where and f"{line.where}: "
            given = f"{len(line.texts)} text{'s' * (len(line.texts) != 1)}"
            raise UserError(f"{where}this MODEL reads {self.reads}; {given} given")
        for text in line.texts:
            if not text.strip():
                raise UserError(f"{line.where and f'{line.where}: '}a text is empty")

    @property
    def plan(self) -> Any:
        return self.objective.plan

    def spec(self) -> dict[str, Any]:
        return self.objective.spec()

    def example(self, row: Row, rng: Rng) -> Example:
        return self.objective.example(row, rng)

    def record(self, texts: tuple[str, ...]) -> Record:
        return Record(texts)

    def owner(self, row: Row) -> int:
        """The number of the record that a row belongs to."""
        return row.id

    @abc.abstractmethod
    def prediction(
        self, table: Table, record: int, rows: Sequence[Row], outputs: dict[str, np.ndarray]
    ) -> Prediction:
        """From the rows of one record and the outputs of each."""


def is_cut(table: Table, record: int, row: Row) -> bool:
    """Whether a row lacks tokens of its record's texts."""
    return any(len(e.tokens) > len(part.tokens) for e, part in zip(table.encoded(record), row.parts))


class ClassHead(Head):
    reads, counts = "a text or a pair", (1, 2)

    def prediction(self, table, record, rows, outputs):
        (logits,), cut = outputs["logits"].astype(np.float64), is_cut(table, record, rows[0])
        if self.objective.regression:
            return Number(float(logits[0]), cut)
        labels, p = self.objective.meta.labels, softmax(logits).tolist()
        return Labels(labels[int(np.argmax(logits))], dict(zip(labels, p, strict=True)), cut)


class NextSentenceHead(Head):
    """As BertPretraining lays out its pairs, with nothing hidden."""

    reads, counts = "a pair of sentences", (2,)

    @property
    def plan(self) -> Labelled:
        return Labelled(length=self.objective.plan.length)

    def spec(self) -> dict[str, Any]:
        return texts_spec(self.plan.length)

    def example(self, row: Row, rng: Rng) -> Example:
        specials = self.objective.meta.tokenizer.specials
        return lay_out_texts(self.plan.length, specials.pad, specials.cls, specials.sep, row.parts)

    def prediction(self, table, record, rows, outputs):
        (logits,) = outputs["nsp_logits"].astype(np.float64)
        return Follows(float(softmax(logits)[0]), is_cut(table, record, rows[0]))


def head_of(objective: Any, text: Text) -> Head:
    match objective:
        case Classification():
            return ClassHead(objective, text)
        case BertPretraining():
            return NextSentenceHead(objective, text)
    raise UserError(
        "this MODEL has no head that says something of a text; fine-tune it (ssl-jax finetune), or try "
        "ssl-jax fill-mask, generate or embed"
    )


def softmax(logits: np.ndarray) -> np.ndarray:
    shifted = np.exp(logits - logits.max())
    return shifted / shifted.sum()


def as_json(line: Line, prediction: Prediction) -> dict[str, Any]:
    return {"texts": list(line.texts), **dataclasses.asdict(prediction)}
