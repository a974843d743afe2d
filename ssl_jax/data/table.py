# SPDX-License-Identifier: Apache-2.0
"""Labelled examples in memory, and the plan of one example a row: the data of fine-tuning.

A task (ssl_jax.tasks) reads `Record`s, a `Table` tokenizes them once and is the store of such plans.
"""

import functools
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ssl_jax.data.plan_base import at_least, fingerprint, percent, whole_part
from ssl_jax.data.plan_pairs import truncated
from ssl_jax.data.plan_permutation import derive, permute
from ssl_jax.text import EncodedDoc, Encoder, Text
from ssl_jax.text.chars import clean
from ssl_jax.types import OpenPlan, Part, Row, Tokenizer, UserError

AT_ONCE = 1 << 14  # records


@dataclass(frozen=True)
class Record:
    """One example as it was read.

    texts: what the model reads, one string or a pair.  label: what it must say (None: not known, as in a
    test split).  fields: whatever else the task needs to judge or to write predictions (an id, the answers).
    place: file and line, for messages.
    """

    texts: tuple[str, ...]
    label: Any = None
    fields: Mapping[str, Any] = field(default_factory=dict)
    place: str = field(default="", compare=False)


class Table:
    """Records and their tokens.

    fingerprint: sha256 of the records and the tokenizer, so that a run never goes on with other examples.
    """

    def __init__(
        self,
        records: Sequence[Record],
        tokenizer: Tokenizer,
        text: Text,
        progress: Callable[[int], None] = lambda done: None,
    ):
        """progress is told how many records are done."""
        self.records = tuple(records)
        self._ends = np.cumsum([0, *(len(record.texts) for record in self.records)])
        self.tokenizer = tokenizer
        self._encoded: list[EncodedDoc] = []
        encoder = Encoder(tokenizer, text)
        for first in range(0, len(self.records), AT_ONCE):
            some = self.records[first : first + AT_ONCE]
            self._encoded += encoder.encode_documents([one for record in some for one in record.texts])
            progress(first + len(some))

    @property
    def num_documents(self) -> int:
        return len(self.records)

    @functools.cached_property
    def fingerprint(self) -> str:
        digest = hashlib.sha256(self.tokenizer.fingerprint.encode())
        for record in self.records:
            digest.update(repr((record.texts, record.label, sorted(record.fields.items()))).encode())
        return digest.hexdigest()

    def encoded(self, i: int) -> list[EncodedDoc]:
        """The tokens of record i's texts."""
        return self._encoded[self._ends[i] : self._ends[i + 1]]

    def offsets(self, i: int, text: int) -> np.ndarray:
        """[n] int64: the character of record i's text at which each of its tokens begins."""
        return next(iter(self.tokenizer.encode_offsets([clean(self.records[i].texts[text])], [False])))


class OpenTable:
    """What every plan over a Table shares: N rows an epoch, in an order of their own in each (OpenPlan)."""

    def __init__(self, plan: Any, table: Table, seed: int, shuffle: bool, num_rows: int, num_tokens: int):
        if num_rows == 0:
            raise UserError("there is no example in it")
        self.table, self.num_rows, self.num_tokens = table, num_rows, num_tokens
        self.fingerprint = fingerprint(plan, table, seed, shuffle)
        self._key = derive(seed, "examples") if shuffle else None

    def place(self, r: int) -> int:
        """Which of the N rows row r is: a permutation in every epoch, or the order of the records."""
        epoch, place = divmod(r, self.num_rows)
        if self._key is None:
            return place
        return int(permute(np.array([place]), self.num_rows, derive(self._key, "rows", epoch))[0])


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """One example a row; what doesn't fit into `length` with the special tokens is cut off.

    Special tokens: one before and one after each text.  Of a pair the longer text loses its last tokens
    until both fit (BERT's truncate_seq_pair).
    """

    length: int = 128

    def open(self, store: Table, seed: int, shuffle: bool = True) -> OpenPlan:
        at_least(self.length, 8, "Labelled")
        return OpenLabelled(self, store, seed, shuffle)

    def typed(self, document: EncodedDoc) -> Row:
        return Row(0, (whole_part(document, 0, self.length - 2),))

    def room(self, num_texts: int) -> int:
        return self.length - num_texts - 1


class OpenLabelled(OpenTable):
    def __init__(self, plan: Labelled, table: Table, seed: int, shuffle: bool):
        self._plan = plan
        self._truncated = 0
        tokens = 0
        for i, record in enumerate(table.records):
            lengths, room = [len(e.tokens) for e in table.encoded(i)], plan.room(len(record.texts))
            self._truncated += sum(lengths) > room
            tokens += min(sum(lengths), room) + len(lengths) + 1
        super().__init__(plan, table, seed, shuffle, table.num_documents, tokens)

    def __getitem__(self, r: int) -> Row:
        i = self.place(r)
        record, encoded = self.table.records[i], self.table.encoded(i)
        keep = kept([len(e.tokens) for e in encoded], self._plan.room(len(encoded)))
        parts: tuple[Part, ...] = tuple(whole_part(e, 0, n) for e, n in zip(encoded, keep, strict=True))
        return Row(r, parts, record.label, record.fields)

    def report(self) -> str:
        return (
            f"{self.num_rows:,} examples of {self._plan.length:,} tokens, "
            f"{percent(self.num_tokens, self.num_rows * self._plan.length)} filled; "
            f"{self._truncated:,} are truncated"
        )


def kept(lengths: Sequence[int], room: int) -> list[int]:
    """Tokens left of one text, or of each of two, when they must fit into room together."""
    if len(lengths) == 1:
        return [min(lengths[0], room)]
    return [int(n) for n in truncated(np.int64(lengths[0]), np.int64(lengths[1]), np.int64(room))]
