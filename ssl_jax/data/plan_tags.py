# SPDX-License-Identifier: Apache-2.0
"""Sentences whose words are given and tagged, a sentence a row, or several rows where it is longer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ssl_jax.data.plan_base import at_least, percent, whole_part
from ssl_jax.data.table import OpenTable, Record, Table
from ssl_jax.text import EncodedDoc, Words
from ssl_jax.text.align import Firsts, first_tokens, joined, word_spans
from ssl_jax.text.chars import clean
from ssl_jax.types import OpenPlan, Row, UserError


def sentence(
    words: Sequence[str],
    tags: Sequence[str] | None = None,
    *,
    separator: str = " ",
    file: str = "",
    lines: Sequence[int] = (),
) -> Record:
    """A Record that `Tagged` takes: one text, the words with the separator between them.

    tags: one a word, None where they aren't known.  file, lines: where each word was read, for complaints.
    """
    text, spans = joined(words, separator)
    fields = {"spans": tuple(map(tuple, spans.tolist())), "file": file, "lines": tuple(lines)}
    return Record((text,), None if tags is None else tuple(tags), fields, file)


def typed_sentence(text: str, boundaries: Words, separator: str = " ") -> Record:
    """The same of a text that somebody typed, its words joined as those that the model learnt from: "Paris!"
    is read as "Paris !", say.  boundaries: a recipe's text.words; align.word_spans says where they were."""
    text = clean(text)
    return sentence([text[a:b] for a, b in word_spans(text, boundaries)], separator=separator)


class Cut(NamedTuple):
    """Tokens [begin, end) of a sentence, which hold what is to be said of its words [first, stop)."""

    begin: int
    end: int
    first: int
    stop: int


def cuts(firsts: np.ndarray, num_tokens: int, room: int) -> list[Cut]:
    """As few rows of at most room tokens as hold a sentence, cut before words, each word in one of them.

    firsts: [W], each word's first token or -1.  A word longer than a row loses its last tokens.
    """
    own = np.flatnonzero(firsts >= 0)
    places = firsts[own]  # strictly increasing
    out, begin, word = [], 0, 0
    while num_tokens - begin > room:
        next_word = np.searchsorted(places, begin, "right")
        next_word = max(next_word, np.searchsorted(places, begin + room, "right") - 1)
        if next_word == len(places):
            break
        place = int(places[next_word])
        out.append(Cut(begin, min(place, begin + room), word, int(own[next_word])))
        begin, word = place, int(own[next_word])
    return [*out, Cut(begin, min(num_tokens, begin + room), word, len(firsts))]


@dataclass(frozen=True, kw_only=True)
class Tagged:
    """Sentences of given words; one that is longer than `length` less two special tokens has several rows,
    cut before a word, so that each word is tagged once.

    A row's fields: the number of its `sentence`; its words, their spans in the sentence's text, and the
    `first` token of each in the row's part ([W] int64, -1 where a word has none of its own); file and lines.
    Its label: the words' tags, or None.  separator: what stands between the words of a text, in the examples
    (the task says the same) and in what is typed later.
    """

    length: int = 128
    separator: str = " "

    def open(self, store: Table, seed: int, shuffle: bool = True) -> OpenPlan:
        at_least(self.length, 8, "Tagged")
        return OpenTagged(self, store, seed, shuffle)

    def typed(self, document: EncodedDoc) -> Row:
        return Row(0, (whole_part(document, 0, self.length - 2),))


class OpenTagged(OpenTable):
    def __init__(self, plan: Tagged, table: Table, seed: int, shuffle: bool):
        self._plan = plan
        self._firsts = aligned(table, plan.separator)
        self._rows: list[tuple[int, Cut]] = []
        self._lost_tokens = 0
        for i, (first, _) in enumerate(self._firsts):
            num_tokens = len(table.encoded(i)[0].tokens)
            found = cuts(first, num_tokens, plan.length - 2)
            self._rows += [(i, cut) for cut in found]
            self._lost_tokens += num_tokens - sum(cut.end - cut.begin for cut in found)
        tokens = sum(cut.end - cut.begin + 2 for _, cut in self._rows)
        super().__init__(plan, table, seed, shuffle, len(self._rows), tokens)

    def __getitem__(self, r: int) -> Row:
        i, cut = self._rows[self.place(r)]
        record, words = self.table.records[i], slice(cut.first, cut.stop)
        first, spans = self._firsts[i].first[words], record.fields["spans"][words]
        fields: dict[str, Any] = {
            "sentence": i,
            "first": np.where(first < 0, -1, first - cut.begin),
            "words": tuple(record.texts[0][a:b] for a, b in spans),
            "spans": spans,
            "file": record.fields["file"],
            "lines": record.fields["lines"][words],
        }
        part = whole_part(self.table.encoded(i)[0], cut.begin, cut.end)
        return Row(r, (part,), None if record.label is None else record.label[words], fields)

    def report(self) -> str:
        sentences, room = len(self._firsts), self.num_rows * self._plan.length
        out = [
            f"{sentences:,} sentences in {self.num_rows:,} rows of {self._plan.length:,} tokens, "
            f"{percent(self.num_tokens, room)} filled"
        ]
        words = sum(len(first) for first, _ in self._firsts)
        without = sum(int((first < 0).sum()) for first, _ in self._firsts)
        inside = sum(int(inside.sum()) for _, inside in self._firsts)
        if without:
            out.append(
                f"{without:,} of {words:,} words have no token of their own, so nothing is learnt of them"
            )
        if inside:
            out.append(f"{inside:,} of {words:,} words begin inside a token of the word before")
        if self._lost_tokens:
            out.append(f"{self._lost_tokens:,} tokens of words longer than a row are cut off")
        return "; ".join(out)


def aligned(table: Table, separator: str = " ") -> list[Firsts]:
    """The first tokens of each record's words.  Raises UserError where a sentence has no token, or other
    characters than the separator between its words."""
    offsets = [table.offsets(i, 0) for i in range(table.num_documents)]
    for i, (record, found) in enumerate(zip(table.records, offsets)):
        if not 0 < len(found) == len(table.encoded(i)[0].tokens):
            what = f"no token has a place in the sentence {record.texts[0][:60]!r}; leave it out"
            raise UserError(f"{place_of(record.fields)}{what}")
        text, spans = record.texts[0], record.fields["spans"]
        if len(spans) > 1 and (between := text[spans[0][1] : spans[1][0]]) != separator:
            raise UserError(
                f"{place_of(record.fields)}words are joined by {between!r} (task.separator), and "
                f"objective.plan.separator={separator!r}: set both to the same"
            )
    texts = [record.texts[0] for record in table.records]
    spans = [np.array(record.fields["spans"], np.int64).reshape(-1, 2) for record in table.records]
    return first_tokens(table.tokenizer, texts, offsets, spans)


def place_of(fields: Mapping[str, Any], word: int = 0) -> str:
    """Where a word of a record or a row was read, to begin a complaint with; "" where it was typed."""
    return f"{fields['file']}: row {fields['lines'][word]}: " if fields["lines"] else ""
