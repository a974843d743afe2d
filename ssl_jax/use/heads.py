# SPDX-License-Identifier: Apache-2.0
"""How each kind of head reads texts that somebody gives it, and what its outputs say.

W windows of one question, T positions of a row, n tokens of a window.
"""

import abc
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ssl_jax.data import Labelled, Outside, Record, Table, Tagged, Windows, typed_sentence
from ssl_jax.data.plan_windows import Window
from ssl_jax.objectives import (
    BertPretraining,
    Classification,
    Read,
    SpanPrediction,
    Tagging,
    answers,
    word_labels,
)
from ssl_jax.objectives.answers import softmax
from ssl_jax.objectives.rows import lay_out_texts, texts_spec
from ssl_jax.text import Text
from ssl_jax.types import Example, Rng, Row, UserError
from ssl_jax.use.inputs import Line
from ssl_jax.use.predictions import Answer, Follows, Labels, Number, Place, Prediction, Tags

LONGEST = 512  # positions of a row of an imported model


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
    """As many texts as in training, where the model remembers it: an export doesn't say."""

    @property
    def counts(self) -> tuple[int, ...]:
        known = 2 if self.objective.read is Read.SIDES else self.objective.meta.texts
        return (1, 2) if known is None else (known,)

    @property
    def reads(self) -> str:
        return {(1,): "a text", (2,): "a pair of texts", (1, 2): "a text or a pair"}[self.counts]

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


class TagHead(Head):
    """Words by the recipe's word boundaries."""

    reads, counts = "a text", (1,)

    def record(self, texts: tuple[str, ...]) -> Record:
        return typed_sentence(texts[0], self.text.words, self.plan.separator)

    def owner(self, row: Row) -> int:
        return row.fields["sentence"]

    def prediction(self, table, record, rows, outputs):
        known = self.objective.meta.labels
        words = [word for row in rows for word in row.fields["words"]]
        labels = [
            label for row, mine in zip(rows, outputs["labels"]) for label in word_labels(row, mine, known)
        ]
        kept = sum(len(row.parts[0].tokens) for row in rows)
        return Tags(tuple(words), tuple(labels), kept < len(table.encoded(record)[0].tokens))


@dataclass(frozen=True)
class Answering:
    """null_threshold: the null odds above which a model that may say so says that there is no answer;
    max_tokens: of an answer (30: SQuAD's)."""

    null_threshold: float = 0.0
    max_tokens: int = 30


SQUAD = Answering()


@dataclass(frozen=True)
class AnswerHead(Head):
    reads, counts = "a question and its context", (2,)
    answering: Answering = SQUAD

    def owner(self, row: Row) -> int:
        return row.fields["window"].record

    def prediction(self, table, record, rows, outputs):
        windows = [row.fields["window"] for row in rows]
        found = answers.find(
            windows, outputs["start"], outputs["end"], n_best=1, max_tokens=self.answering.max_tokens
        )
        best = found.best[0] if found.best else found.null
        silent = not found.best or (
            self.plan.outside is Outside.NULL and found.null_odds > self.answering.null_threshold
        )
        w = next((w for w in range(len(rows)) if said_in(windows[w], best, *self._logits(outputs, w))), 0)
        none, places = self._places(rows[w], *self._logits(outputs, w))
        starts = sum(place.starts for place in places if place.begin == best.begin)
        ends = sum(place.ends for place in places if place.end == best.end)
        return Answer(
            *(("", 0, 0) if silent else best[:3]),
            probability=none if silent else starts * ends,
            null_odds=float(found.null_odds),
            tokens=places,
            cut=len(table.encoded(record)[0].tokens) > windows[0].question,
        )

    def _logits(self, outputs: dict[str, np.ndarray], w: int) -> tuple[np.ndarray, np.ndarray]:
        return outputs["start"][w].astype(np.float64), outputs["end"][w].astype(np.float64)

    def _places(self, row: Row, start: np.ndarray, end: np.ndarray) -> tuple[float, tuple[Place, ...]]:
        """(probability of [CLS] as both, the context's tokens); the softmaxes are those of the training."""
        window, used = row.fields["window"], 1 + sum(len(part.tokens) + 1 for part in row.parts)
        starts, ends = softmax(start[:used]), softmax(end[:used])
        names = self.objective.meta.tokenizer.pieces(row.parts[1].tokens.tolist())
        here = slice(window.first, window.first + len(names))
        columns = window.begins.tolist(), window.ends.tolist(), starts[here].tolist(), ends[here].tolist()
        places = tuple(
            Place(window.context[a:b] or name, a, b, p, q)
            for name, a, b, p, q in zip(names, *columns, strict=True)
        )
        return float(starts[0] * ends[0]), places


def said_in(window: Window, answer: answers.Answer, start: np.ndarray, end: np.ndarray) -> bool:
    """Whether the answer's logits are those of its own tokens in this window."""
    here = slice(window.first, window.first + len(window.begins))
    starts, ends = start[here][window.begins == answer.begin], end[here][window.ends == answer.end]
    return answer.start_logit in starts and answer.end_logit in ends


def head_of(objective: Any, text: Text, positions: int, answering: Answering = SQUAD) -> Head:
    """Of a model with so many positions.  Raises UserError where its heads say nothing of a whole text."""
    if objective is not None and objective.plan is None:
        objective = dataclasses.replace(objective, plan=default_plan(objective, positions))
    match objective:
        case Classification():
            return ClassHead(objective, text)
        case BertPretraining():
            return NextSentenceHead(objective, text)
        case Tagging():
            return TagHead(objective, text)
        case SpanPrediction():
            return AnswerHead(objective, text, answering)
    raise UserError(
        "this MODEL has no head that says something of a text; fine-tune it (ssl-jax finetune), or try "
        "ssl-jax fill-mask, generate or embed"
    )


def default_plan(objective: Any, positions: int) -> Any:
    """For an imported head, which doesn't say how long the rows of its training were."""
    length = min(positions, LONGEST)
    match objective:
        case Tagging():
            return Tagged(length=length)
        case SpanPrediction():
            return Windows(length=length, question=min(Windows.question, length // 4))
    return Labelled(length=length)
