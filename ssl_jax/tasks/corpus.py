# SPDX-License-Identifier: Apache-2.0
"""From a task to what a run trains on: its splits tokenized, its labels, its tokenizer."""

import functools
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ssl_jax import text as text_lib
from ssl_jax.data import Record, Table
from ssl_jax.data.files import cache_dir, locked
from ssl_jax.data.order import given_tokenizer
from ssl_jax.tasks.base import TRAIN, TUNING, Task, place_of
from ssl_jax.text import Text
from ssl_jax.types import Progress, Tokenizer, UserError


@dataclass(frozen=True)
class TaskData:
    """What `open_task` returns; beside data.Corpus, what a run can train on."""

    train: Table
    evaluations: Mapping[str, Table]
    labels: tuple[str, ...]
    tokenizer: Tokenizer
    tokenizer_dir: Path
    dir: str  # for people: where the examples came from

    @property
    def texts(self) -> int:
        """How many texts an example has."""
        return max(len(record.texts) for record in self.train.records)

    @property
    def fingerprint(self) -> str:
        """sha256 of every split: neither the examples nor what is held out may change under a run."""
        splits = {TRAIN: self.train, **self.evaluations}
        text = repr([(name, table.fingerprint) for name, table in splits.items()])
        return hashlib.sha256(text.encode()).hexdigest()

    def report_text(self) -> str:
        sizes = [f"{TRAIN} {self.train.num_documents:,}"]
        sizes += [f"{name} {table.num_documents:,}" for name, table in self.evaluations.items()]
        named = f"; labels {', '.join(self.labels)}" if self.labels else ""
        return f"{self.dir}: examples: {', '.join(sizes)}{named}"


def open_task(task: Task, text: Text, progress: Progress) -> TaskData:
    """Reads and tokenizes.  A tokenizer that must be trained is, on the training examples, in the cache."""
    every = read(task, TRAIN, progress)
    records = share(every, task.train_share)
    folder = tokenizer_dir(text, every, progress)
    tokenizer = text_lib.load(folder)
    labels = task.labels(every)
    tables: dict[str, Table] = {}
    for name, split in {TRAIN: TRAIN, **task.evaluations}.items():
        found = records if name == TRAIN else read(task, split, progress)
        found = share(found, task.train_share) if split == TUNING else found
        check_labels(found, labels)
        tables[name] = tokenized(found, tokenizer, text, name, progress)
    train = tables.pop(TRAIN)
    return TaskData(train, tables, labels, tokenizer, folder, task.data or type(task).__name__)


def read(task: Task, split: str, progress: Progress) -> list[Record]:
    progress(f"read {split}", 0, None, "examples")
    records = task.read(split)
    progress(f"read {split}", len(records), len(records), "examples")
    return records


def tokenized(
    records: Sequence[Record], tokenizer: Tokenizer, text: Text, name: str, progress: Progress
) -> Table:
    told = functools.partial(progress, f"tokenize {name}", total=len(records), unit="examples")
    return Table(records, tokenizer, text, told)


def check_labels(records: Sequence[Record], labels: Sequence[str]) -> None:
    """Raises UserError at the first example that has a label (or one of several, a word each) which is none
    of the task's."""
    for record in records:
        mine = record.label if isinstance(record.label, tuple) else (record.label,)
        for i, label in enumerate(mine):
            if isinstance(label, str) and label not in labels:
                lines = record.fields.get("lines")  # a word each
                place = f"{record.fields['file']}: row {lines[i]}" if lines else record.place
                raise UserError(f"{place}: there is no label {label!r}; the labels are {', '.join(labels)}")


def share(records: Sequence[Record], part: float) -> list[Record]:
    """The records whose hash falls into the first part of [0, 1): a larger part holds the smaller one."""
    if not 0 < part <= 1:
        raise UserError(f"task.train_share={part}: take a share above 0 and at most 1")
    # By its number and its texts: copies of a text part ways.
    chosen = [r for i, r in enumerate(records) if part == 1 or place_of(repr((i, r.texts))) < part]
    if not chosen:
        raise UserError(f"task.train_share={part} leaves none of {len(records)} training examples")
    return chosen


def tokenizer_dir(text: Text, records: Sequence[Record], progress: Progress) -> Path:
    """The folder of the recipe's tokenizer, trained on these records' texts where it must be."""
    texts = [one for record in records for one in record.texts] if text.tokenizer.trains else []
    key = repr((text.tokenizer, texts)) if text.tokenizer.trains else given_tokenizer(text).fingerprint
    folder = cache_dir() / "tokenizers" / f"task-{hashlib.sha256(key.encode()).hexdigest()[:32]}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with locked(folder.with_name(folder.name + ".lock")):
        if not folder.is_dir():
            text.tokenizer.train(texts, folder, progress)
    return folder
