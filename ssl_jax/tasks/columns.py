# SPDX-License-Identifier: Apache-2.0
"""One's own labelled texts or pairs: columns of TSV, CSV or JSON lines, or features of any TFDS builder."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ssl_jax.data import Record
from ssl_jax.data.split import keys_of, settle_threshold
from ssl_jax.tasks.base import DEV, TRAIN, Predicted
from ssl_jax.tasks.metrics import Measure
from ssl_jax.tasks.sentences import (
    Label,
    SentenceTask,
    answers,
    parse_class,
    parse_number,
    probabilities,
    records_of,
    write_tsv,
)
from ssl_jax.tasks.sheet import Sheet, read_sheet, split_files, tfds_sheet
from ssl_jax.types import UserError

TFDS = "tfds:"
ALL = "all"


@dataclass(frozen=True, kw_only=True)
class Columns(SentenceTask):
    """Sentiment, stance, natural-language inference: a class or a number for a text or a pair.

    data: a folder with a file a split (train.tsv, dev.csv, test.jsonl, compressed or not); one file; or
    "tfds:NAME" or "tfds:NAME/CONFIG".  Of one file the splits are train, dev and all.
    text, second, label: the columns, or TFDS's features; second is None where there is no pair.
    label_names: the classes in the order of their ids; () takes those of the training data, sorted.
    measures: what is measured; the first picks the best checkpoint.  Those of numbers make it a regression,
    and of them mse is only measured, since lower is better.
    positive_class: the class that F1 is of (None: the second of two).
    train_split, dev_split: the names of these files, or TFDS's splits (slices, too).  dev_split None, or one
    file: dev is the share `heldout` of the training texts, chosen by a hash of each, so that copies of a text
    stay together.
    """

    text: str = "text"
    second: str | None = None
    label: str = "label"
    label_names: tuple[str, ...] = ()
    measures: tuple[Measure, ...] = (Measure.ACCURACY, Measure.MACRO_F1)
    positive_class: str | None = None
    train_split: str = TRAIN
    dev_split: str | None = DEV
    heldout: float = 0.1

    def __post_init__(self) -> None:
        if not self.measures or len({each.of_numbers for each in self.measures}) != 1:
            raise UserError("task.measures: take one or more, all of classes or all of numbers")
        if self.measures[0] is Measure.MSE:
            raise UserError("task.measures: lower is better of mse, so it can't be the first")
        if not 0 < self.heldout < 1:
            raise UserError(f"task.heldout={self.heldout}: take a share above 0 and below 1")

    @property
    def measured(self) -> tuple[Measure, ...]:
        return self.measures

    def positive(self, labels: Sequence[str]) -> str | None:
        if Measure.F1 not in self.measures:
            return None
        if self.positive_class is None and len(labels) != 2:
            raise UserError("task.positive_class: say of which class F1 is, or measure macro_f1")
        name = self.positive_class or labels[1]
        if name not in labels:
            raise UserError(f"task.positive_class={name} is none of the labels {', '.join(labels)}")
        return name

    def labels(self, train: Sequence[Record]) -> tuple[str, ...]:
        if self.regression:
            return ()
        return self.label_names or tuple(sorted({record.label for record in train}))

    # ------------------------------------------------------------------------------------- reading

    def read(self, split: str) -> list[Record]:
        shared = split in (TRAIN, DEV) and self.dev_is_a_share
        found = records_of(
            self.sheet(TRAIN if shared else split),
            [(name,) for name in (self.text, self.second) if name is not None],
            (self.label,),
            self.parse,
            labelled=split in (TRAIN, DEV),
        )
        return self.side(found, split == DEV) if shared else found

    def parse(self, cell: str) -> Label:
        if self.regression:
            return parse_number(cell)
        if self.label_names:
            return parse_class(cell, self.label_names)
        return cell

    @property
    def is_file(self) -> bool:
        return self.data is not None and Path(self.data).expanduser().is_file()

    @property
    def dev_is_a_share(self) -> bool:
        return self.dev_split is None or self.is_file

    def sheet(self, split: str) -> Sheet:
        if self.data is None:
            raise UserError("this task has no data: say --data PATH, or --data tfds:NAME")
        name = {TRAIN: self.train_split, DEV: self.dev_split}.get(split, split)
        if self.data.startswith(TFDS):
            return tfds_sheet(self.data.removeprefix(TFDS), name)
        path = Path(self.data).expanduser()
        if self.is_file:
            if split not in (TRAIN, ALL):
                raise UserError(
                    f"{path} is one file and has no split {split!r}; it has: {TRAIN}, {DEV}, {ALL}"
                )
            return read_sheet(path)
        files = split_files(path)
        if name not in files:
            there = ", ".join(sorted(files)) or "no .tsv, .csv or .jsonl"
            hint = "; task.dev_split=none holds a share of train out" if split == DEV else ""
            raise UserError(f"{path} has no split {name!r}; it has: {there}{hint}")
        return read_sheet(files[name])

    def side(self, records: Sequence[Record], dev: bool) -> list[Record]:
        """The held-out records, or the others."""
        texts = ["\n".join(record.texts) for record in records]
        keys = keys_of(texts)
        if len(np.unique(keys)) < 2:
            raise UserError(f"{self.data} holds one text alone, so no share of it can be held out")
        limit = settle_threshold(texts, self.heldout)
        chosen = [record for record, key in zip(records, keys, strict=True) if (int(key) < limit) == dev]
        if len({record.label for record in chosen}) == 1:
            raise UserError(
                f"{self.data}: all labels of the {'held-out' if dev else 'training'} share are "
                f"{chosen[0].label}; change task.heldout, or give a file a split"
            )
        return chosen

    # ------------------------------------------------------------------------------------- writing

    def write(self, split: str, predicted: Predicted, labels: tuple[str, ...], folder: Path) -> list[Path]:
        """`SPLIT.predictions.tsv`: row (from 0, without the header), answer, and a probability a class."""
        said = answers(predicted, labels).tolist()
        shares = probabilities(predicted).round(6).tolist() if labels else [[] for _ in said]
        rows = [
            (row.fields["row"], answer, *share)
            for row, answer, share in zip(predicted.rows, said, shares, strict=True)
        ]
        header = ("row", "prediction", *(f"probability_{name}" for name in labels))
        return [write_tsv(folder / f"{split}.predictions.tsv", header, rows)]
