# SPDX-License-Identifier: Apache-2.0
"""Windows over a context that a question is asked about: the plan of extractive question answering.

Tokens are tied to the context's characters, so that an answer is cut from the text as it was written.
"""

import enum
import unicodedata
from dataclasses import dataclass

import numpy as np

from ssl_jax.data.plan_base import percent, whole_part
from ssl_jax.data.table import OpenTable, Table
from ssl_jax.text import EncodedDoc
from ssl_jax.text.chars import CharTable, clean, codes
from ssl_jax.types import OpenPlan, Row, UserError

ELSEWHERE = (
    -1,
    -1,
)  # a row's label: the answer is in other windows, and nothing is to be learnt from this one
SPECIALS = 3  # [CLS] question [SEP] context [SEP]
INVISIBLE = ("Cc", "Cf", "Zl", "Zp", "Zs")  # Unicode's categories of control, format and white space
_VISIBLE = CharTable(lambda char: unicodedata.category(char) not in INVISIBLE)


class Outside(enum.Enum):
    """What a window teaches that doesn't hold the answer its question has elsewhere: nothing (it is no
    training row, and has no weight in an evaluation), or that the answer isn't there ([CLS])."""

    DROP = "drop"
    NULL = "null"


@dataclass(frozen=True)
class Window:
    """One row's part of a context, as `Row.fields["window"]`.

    record: its number in the table.  start: its first token's number in the context, of n tokens that it
    holds.  question: tokens of the question before it.  begins, ends: [n] int32, the characters of the
    context where each token's visible text begins and ends; a token without any has ends <= begins.
    """

    record: int
    context: str
    start: int
    question: int
    begins: np.ndarray
    ends: np.ndarray

    @property
    def stop(self) -> int:
        return self.start + len(self.begins)

    @property
    def first(self) -> int:
        """The position in the row of its first token."""
        return self.question + 2


@dataclass(frozen=True, kw_only=True)
class Windows:
    """One window a row, over a Table of records (question, context).

    length: positions of a row, `[CLS] question [SEP] context [SEP]`.  question: tokens of a question; a
    longer one loses its last.  stride: tokens from the beginning of one window to that of the next (as in
    BERT's run_squad.py; it is no overlap).  A window holds as many tokens as fit, and where the stride is
    longer than that the windows touch: no token of a context is ever skipped.  The last window ends where
    the context does.

    A record's label is the answer's (begin, end) in characters of the context, () where there is none, None
    where it isn't known.  A row's label is the answer's (first, last) token in its window, () where [CLS] is
    the answer, ELSEWHERE, or None.  Row.fields are the record's, and its `Window`.

    outside: BERT points all windows without their question's answer to [CLS].  Right where questions may
    have no answer (SQuAD 2.0), since the null score is read from every window.  Where each has one
    (SQuAD 1.1), [CLS] is never an answer, and long contexts would flood the training with it: DROP.
    """

    length: int = 384
    stride: int = 128
    question: int = 64
    outside: Outside = Outside.DROP

    def open(self, store: Table, seed: int, shuffle: bool = True) -> OpenPlan:
        """shuffle=False is an evaluation, with every window in it."""
        if self.question < 1 or self.stride < 1:
            raise UserError("Windows: question and stride must be 1 token or more")
        if self.length < self.question + SPECIALS + 1:
            raise UserError(
                f"Windows(length={self.length}, question={self.question}): no room for the context; make "
                f"length {self.question + SPECIALS + 1} or more, or question less"
            )
        return OpenWindows(self, store, seed, shuffle)

    def typed(self, document: EncodedDoc) -> Row:
        raise UserError("one text is no question about a context; give both to: ssl-jax predict MODEL")

    def starts(self, question: int, context: int) -> np.ndarray:
        """Where the windows of a context of so many tokens begin, after a question of so many (cut) ones."""
        room = self.length - SPECIALS - question
        hop = min(self.stride, room)
        return hop * np.arange(1 + max(0, -(-(context - room) // hop)))


class OpenWindows(OpenTable):
    def __init__(self, plan: Windows, table: Table, seed: int, shuffle: bool):
        self._plan = plan
        self._spans: dict[str, tuple[np.ndarray, np.ndarray]] = {}  # of a context, whoever asks about it
        self._rows: list[tuple[int, int, tuple[int, int] | tuple[()] | None]] = []
        self._cut = self._outside = self._lost = 0
        tokens = 0
        for i in range(table.num_documents):
            question, context = (len(e.tokens) for e in table.encoded(i))
            if not context:
                raise UserError(f"{table.records[i].place or f'example {i + 1}'}: its context has no token")
            self._cut += question > plan.question
            question = min(question, plan.question)
            room = plan.length - SPECIALS - question
            for start, label in self._windows(table, i, question, context, shuffle):
                self._rows.append((i, start, label))
                tokens += SPECIALS + question + min(room, context - start)
        super().__init__(plan, table, seed, shuffle, len(self._rows), tokens)

    def _windows(self, table: Table, i: int, question: int, context: int, shuffle: bool):
        """(start, label) of each window of record i."""
        starts = self._plan.starts(question, context).tolist()
        answer = table.records[i].label
        if not answer:
            return [(start, answer) for start in starts]
        room = self._plan.length - SPECIALS - question
        first, last = tokens_of(answer, *self._characters(table, i))
        held = [start <= first and last < min(start + room, context) for start in starts]
        self._lost += not any(held)
        self._outside += len(held) - sum(held)
        without = ELSEWHERE if self._plan.outside is Outside.DROP else ()
        found = [
            (start, (first - start, last - start) if here else without) for start, here in zip(starts, held)
        ]
        return [(start, label) for start, label in found if label != ELSEWHERE] if shuffle else found

    def _characters(self, table: Table, i: int) -> tuple[np.ndarray, np.ndarray]:
        context = table.records[i].texts[1]
        if context not in self._spans:
            self._spans[context] = characters(context, table.offsets(i, 1))
        return self._spans[context]

    def __getitem__(self, r: int) -> Row:
        i, start, label = self._rows[self.place(r)]
        record, (question, context) = self.table.records[i], self.table.encoded(i)
        size = min(len(question.tokens), self._plan.question)
        stop = min(start + self._plan.length - SPECIALS - size, len(context.tokens))
        begins, ends = (x[start:stop] for x in self._characters(self.table, i))
        window = Window(i, record.texts[1], start, size, begins, ends)
        parts = (whole_part(question, 0, size), whole_part(context, start, stop))
        return Row(r, parts, label, {**record.fields, "window": window})

    def report(self) -> str:
        what = "dropped" if self._plan.outside is Outside.DROP else "pointed to [CLS]"
        return (
            f"{self.num_rows:,} windows of {self._plan.length:,} tokens over {self.table.num_documents:,} "
            f"questions, {percent(self.num_tokens, self.num_rows * self._plan.length)} filled; "
            f"{self._outside:,} without their question's answer are {what}, {self._lost:,} answers fit into "
            f"no window, {self._cut:,} questions are cut"
        )


def characters(text: str, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(begins, ends) [n] int32 of the visible text of tokens that begin at offsets (Table.offsets).

    Tokens that are parts of one character (bytes of an emoji) all have that character.
    """
    offsets = np.maximum.accumulate(offsets)
    after = np.append(np.unique(offsets), len(text))
    following = after[np.searchsorted(after, offsets, "right")]  # where the next character's token begins
    visible = np.flatnonzero(_VISIBLE(codes(clean(text))))
    next_visible = np.append(visible, len(text))[np.searchsorted(visible, offsets)]
    last_visible = np.append(-1, visible)[np.searchsorted(visible, following)]
    return next_visible.astype(np.int32), (last_visible + 1).astype(np.int32)


def tokens_of(answer: tuple[int, int], begins: np.ndarray, ends: np.ndarray) -> tuple[int, int]:
    """(first, last) token of the fewest that hold the characters [begin, end)."""
    first = int(np.searchsorted(ends, answer[0], "right"))
    last = int(np.searchsorted(begins, answer[1], "left")) - 1
    return min(first, len(ends) - 1), max(first, last)
