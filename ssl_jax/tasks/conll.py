# SPDX-License-Identifier: Apache-2.0
"""A tag for every word of a sentence, from CoNLL columns or TFDS: named entities, parts of speech."""

import enum
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from ssl_jax.data import Record, sentence
from ssl_jax.objectives import word_labels
from ssl_jax.tasks.base import CONSTANT, HELDOUT, TRAIN, Predicted, Task
from ssl_jax.tasks.entities import TAG, f1_precision_recall
from ssl_jax.tasks.tagged import Columns, Features, one_file, read_columns, read_features
from ssl_jax.types import UserError

TEST = "test"
TAG_COLUMN = "task.columns.tag says which column holds it"


class TagMetric(enum.Enum):
    """What is judged, by which metrics: whole entities, as conlleval has them, or each word."""

    ENTITIES = ("f1", "precision", "recall")
    WORDS = ("accuracy",)


@dataclass(frozen=True, kw_only=True)
class Conll(Task):
    """Tags of the words of sentences.

    data: a folder with a file for each of train, dev and test, found by its name (patterns as in a shell,
    without .gz, .xz or .zst); None is builder.  separator: how words are joined to a text; "" for scripts
    that put nothing between them (the plan's is the same).  names: the tags in the order of their ids; () is
    those of the training side, sorted.  A test file may have no tags.  Sequences that are no legal BIO are
    read as conlleval reads them (entities.py).
    """

    by: TagMetric = TagMetric.ENTITIES
    columns: Columns = field(default_factory=Columns)
    train: tuple[str, ...] = ("*train", "*train.*")
    dev: tuple[str, ...] = ("*testa", "*dev", "*dev.*", "*valid", "*valid.*")
    test: tuple[str, ...] = ("*testb", "*test", "*test.*")
    builder: Features | None = None
    separator: str = " "
    names: tuple[str, ...] = ()

    @property
    def metrics(self) -> tuple[str, ...]:
        return tuple(f"{HELDOUT}/{metric}" for metric in self.by.value)

    def read(self, split: str) -> list[Record]:
        patterns = {TRAIN: self.train, "dev": self.dev, TEST: self.test}
        if split not in patterns:
            raise UserError(f"there is no split {split}; there are {', '.join(patterns)}")
        if self.data is not None:
            path = one_file(Path(self.data).expanduser(), split, patterns[split])
            name, found = path.name, read_columns(path, self.columns)
        elif self.builder is not None:
            name, found = f"tfds:{self.builder.name}:{split}", read_features(self.builder, split)
        else:
            raise UserError("where are the sentences?  --data names a folder of train, dev and test files")
        records = []
        for words, tags, lines in found:
            if tags is None and split != TEST:
                what = f"it has no tag; {TAG_COLUMN}, and only test may lack it"
                raise UserError(f"{name}: row {lines[0]}: {what}")
            if self.by is TagMetric.ENTITIES:
                check_entities(tags or (), lines, name)
            records.append(sentence(words, tags, separator=self.separator, file=name, lines=lines))
        if not records:
            raise UserError(f"{name}: it holds no sentence")
        return records

    def labels(self, train: Sequence[Record]) -> tuple[str, ...]:
        return self.names or tuple(sorted({tag for record in train for tag in record.label}))

    def score(self, predicted: Mapping[str, Predicted], labels: tuple[str, ...]) -> dict[str, float]:
        """`NAME/accuracy` over all words and, of entities, `NAME/f1`, `/precision` and `/recall`.

        A word without a token of its own is predicted to be outside of entities, and is wrong as a word.
        """
        out = {}
        for name, split in predicted.items():
            found = self._tagged(split, labels)
            if any(s.tags is None for s in found):
                raise UserError(f"{name}: without tags nothing can be measured on it")
            pairs = [(tag, guess) for s in found for tag, guess in zip(s.tags, s.guesses)]
            out[f"{name}/accuracy"] = sum(tag == guess for tag, guess in pairs) / len(pairs)
            out[f"{name}/{CONSTANT}"] = float(len({guess for _, guess in pairs}) == 1)
            if self.by is TagMetric.ENTITIES:
                if all(tag == "O" for tag, _ in pairs):
                    raise UserError(f"{name}: no entity in it, so that F1 is not defined; take another file")
                values = f1_precision_recall((s.tags, s.guesses) for s in found)
                out |= {f"{name}/{metric}": value for metric, value in zip(self.by.value, values)}
        return out

    def write(self, split: str, predicted: Predicted, labels: tuple[str, ...], folder: Path) -> list[Path]:
        """SPLIT_predictions.conll: word, tag where it is known, predicted tag, as `conlleval` reads them."""
        lines = []
        for s in self._tagged(predicted, labels):
            columns = (s.words, s.guesses) if s.tags is None else (s.words, s.tags, s.guesses)
            lines += [*map(" ".join, zip(*columns)), ""]
        path = folder / f"{split}_predictions.conll"
        path.write_text("\n".join([*lines, ""]), encoding="utf-8")
        return [path]

    def _tagged(self, predicted: Predicted, labels: tuple[str, ...]) -> list["Guessed"]:
        """The sentences, whole again where they had several rows."""
        missing = "O" if self.by is TagMetric.ENTITIES else "_"
        out = []
        pairs = zip(predicted.rows, predicted.outputs["labels"])
        for _, parts in itertools.groupby(pairs, key=lambda pair: pair[0].fields["sentence"]):
            rows, outputs = zip(*parts)
            words = [word for row in rows for word in row.fields["words"]]
            tags = None if rows[0].label is None else [tag for row in rows for tag in row.label]
            found = [word_labels(row, output, labels) for row, output in zip(rows, outputs)]
            out.append(Guessed(words, tags, [tag or missing for tag in itertools.chain(*found)]))
        return out


class Guessed(NamedTuple):
    """A sentence, its tags where they are known, and what the model said."""

    words: list[str]
    tags: list[str] | None
    guesses: list[str]


def check_entities(tags: Sequence[str], lines: Sequence[int], name: str) -> None:
    """Raises UserError for a tag that can't be read.  What may follow what isn't asked (see entities.py)."""
    for tag, line in zip(tags, lines):
        if not TAG.fullmatch(tag):
            what = f"the tag {tag!r} is neither O nor B-X, I-X, E-X or S-X"
            raise UserError(f"{name}: row {line}: {what}; {TAG_COLUMN}, and task.by=WORDS takes any tag")
