# SPDX-License-Identifier: Apache-2.0
"""Vectors of tokens, words and sentences as a model sees them where they stand.

Works on the trunk alone, whatever heads there are.  n tokens of a text, N vectors, L levels taken of them,
D width.
"""

import enum
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from ssl_jax import nn
from ssl_jax.text import Text
from ssl_jax.text.spans import Located, locate
from ssl_jax.types import UserError
from ssl_jax.use.reader import Reader

CHUNK_CHARS, CHUNK_TEXTS = 1 << 16, 1024  # so much text is held at once, or one longer text


class By(enum.Enum):
    """What gets a vector: every token, every word or every sentence (the recipe's `text` says where they
    begin)."""

    TOKEN = "token"
    WORD = "word"
    SENTENCE = "sentence"


class Pool(enum.Enum):
    """One vector of several tokens: their mean, the first or the last."""

    MEAN = "mean"
    FIRST = "first"
    LAST = "last"

    def of(self, tokens: Int[np.ndarray, " k"]) -> Int[np.ndarray, " j"]:
        """The tokens whose mean the vector is."""
        return {Pool.MEAN: tokens, Pool.FIRST: tokens[:1], Pool.LAST: tokens[-1:]}[self]


@dataclass(frozen=True)
class Layers:
    """Which levels make a vector: 0 is the stack's input, num_layers the last output; -1 is the last as well.

    mean: their mean [D]; otherwise they stand end to end [L * D].
    """

    levels: tuple[int, ...] = (-1,)
    mean: bool = False

    @classmethod
    def parse(cls, text: str, num_layers: int) -> "Layers":
        """`12`, `last`, `last-1`, `0,6,12` (end to end), `9..12`, `mean:last-3..last`.  Raises UserError."""
        how, _, rest = text.rpartition(":")
        levels: list[int] = []
        for part in rest.split(","):
            found = _RANGE.fullmatch(part)
            if found is None or how not in ("", "mean"):
                forms = "12, last, last-1, 0,6,12 (end to end), 9..12 or mean:last-3..last"
                raise UserError(f"layers {text!r}: write {forms}")
            ends = [int(n) if n.isdecimal() else num_layers - int(n[5:] or 0) for n in found.groups() if n]
            for end in ends:
                if not 0 <= end <= num_layers:
                    raise _no_layer(part, num_layers)
            levels += range(min(ends), max(ends) + 1)
        return cls(tuple(levels), how == "mean")

    def resolved(self, num_layers: int) -> tuple[int, ...]:
        """The levels counted from 0.  Raises UserError where there is none of that number."""
        for level in self.levels:
            if not -num_layers - 1 <= level <= num_layers:
                raise _no_layer(str(level), num_layers)
        return tuple(level % (num_layers + 1) for level in self.levels)


_RANGE = re.compile(r"(\d+|last(?:-\d+)?)(?:\.\.(\d+|last(?:-\d+)?))?")


def _no_layer(name: str, num_layers: int) -> UserError:
    return UserError(
        f"there is no layer {name}: this MODEL has {num_layers}, numbered 1 to {num_layers}, "
        "and 0 is what goes into the first"
    )


LAST_LAYER = Layers()
UNICODE = Text(tokenizer=None)


@dataclass(frozen=True)
class Vectors:
    """N vectors, in the order of the texts.

    texts: [N] the number of the text, from 0; starts, stops: [N] where in it, in characters; words: what
    stands there (of a token its piece).  vectors: [N, D] (or [N, L * D]) float32, contextual; static:
    [N, D] float32, the token table's rows of the same pieces, pooled alike.
    """

    texts: Int[np.ndarray, " N"]
    starts: Int[np.ndarray, " N"]
    stops: Int[np.ndarray, " N"]
    words: list[str]
    vectors: Float[np.ndarray, "N E"]
    static: Float[np.ndarray, "N D"]

    def __len__(self) -> int:
        return len(self.words)

    def first(self, count: int) -> "Vectors":
        """At most so many of them, as arrays of their own."""
        arrays = {name: getattr(self, name)[:count].copy() for name in ARRAYS}
        return Vectors(words=self.words[:count], **arrays)


ARRAYS = ("texts", "starts", "stops", "vectors", "static")


def joined(parts: Sequence[Vectors]) -> Vectors:
    whole = {name: np.concatenate([getattr(part, name) for part in parts]) for name in ARRAYS}
    return Vectors(words=[word for part in parts for word in part.words], **whole)


def cosines(vectors: Float[np.ndarray, "N D"]) -> Float[np.ndarray, "N N"]:
    """Cosine of the angle between every two; 0 where one is all zeros."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = vectors / np.where(lengths > 0, lengths, 1)
    return np.clip(unit @ unit.T, -1, 1)


def embed(model: nn.Model, tokenizer: Any, texts: Sequence[str], **how: Any) -> Vectors:
    """Vectors of these texts; how: as in `stream`.

    >>> loaded = weights.load("runs/bert_tiny")
    >>> found = embed(loaded.model, loaded.tokenizer, ["by the river bank", "a bank clerk"], word="bank")
    >>> found.vectors.shape, cosines(found.vectors)[0, 1]

    Raises UserError where nothing is found.
    """
    parts = list(stream(model, tokenizer, texts, **how))
    if not parts:
        word = how.get("word")
        raise UserError("there is no text in it" if word is None else f"{word!r} is in none of the texts")
    return joined(parts)


def stream(
    model: nn.Model,
    tokenizer: Any,
    texts: Iterable[str],
    *,
    by: By | None = None,
    word: str | None = None,
    text: Text = UNICODE,
    layers: Layers = LAST_LAYER,
    pool: Pool = Pool.MEAN,
    batch_size: int = 32,
) -> Iterator[Vectors]:
    """Vectors of any number of texts, some texts at a time; memory is that of a chunk, or of one long text.

    by: what gets a vector (default: WORD).  word: vectors only where this stands, inside longer words too,
    or, with by, where a whole token, word or sentence is this; case and accents count.  text: the recipe's
    section, for its words and sentences.

    A text is read as in training: between [CLS] and [SEP], or after the beginning-of-text token in a trunk
    that sees to the left alone, where the tokenizer has them.  A text longer than the model has positions is
    read in windows that overlap by half, and each token is taken from the one that shows most around it.
    Everything is computed in float32 and shared out over this process's devices; batch_size changes no
    vector.
    """
    word = word and word.strip()
    if word == "":
        raise UserError("the word to look for is empty")
    reader = Reader(
        model.trunk, tokenizer, layers.resolved(model.trunk.spec.num_layers), layers.mean, batch_size
    )
    for first, chunk in _chunks(texts):
        if word is not None and by is not By.TOKEN:  # a text without it needs no tokens
            chunk = [one if word in one else "" for one in chunk]
        located = [locate(tokenizer, one) for one in chunk]
        units = [units_of(tokenizer, one, text, by, word) for one in located]
        if any(units):
            tokens = [[pool.of(unit.tokens) for unit in those] for those in units]
            yield _pooled(reader, first, located, units, tokens)


# --------------------------------------------------------------------------------------------- units


class Unit(NamedTuple):
    """What gets a vector: its characters and its tokens, one or more."""

    start: int
    stop: int
    word: str
    tokens: Int[np.ndarray, " k"]


def units_of(tokenizer: Any, located: Located, text: Text, by: By | None, word: str | None) -> list[Unit]:
    """The units of a text; those without a token (a character that the normaliser drops) are left out."""
    if by is By.TOKEN:
        names = tokenizer.pieces(located.tokens.tolist())
        spans = [located.visible(*span) for span in zip(located.starts.tolist(), located.stops.tolist())]
        units = [Unit(*span, name, np.array([i])) for i, (span, name) in enumerate(zip(spans, names))]
        return [u for u in units if word in (None, u.word, located.text[u.start : u.stop])]
    if by is None and word is not None:
        spans = [match.span() for match in re.finditer(re.escape(word), located.text)]
    elif by is By.SENTENCE:
        spans = text.sentences.split(located.text)
    else:
        starts = np.flatnonzero(text.words.starts(located.text)).tolist()
        ends = [*starts[1:], len(located.text)]
        spans = [located.visible(*span) for span in zip(starts, ends)]
    units = [Unit(a, b, located.text[a:b], located.covering(a, b)) for a, b in spans]
    return [u for u in units if len(u.tokens) and word in (None, u.word)]


def _pooled(
    reader: Reader,
    first: int,
    located: list[Located],
    units: list[list[Unit]],
    tokens: list[list[Int[np.ndarray, " j"]]],
) -> Vectors:
    """The vectors of a chunk of texts, numbered from first: means over the tokens of each unit."""
    wanted = [np.unique(np.concatenate(those)) if those else np.zeros(0, np.int64) for those in tokens]
    states = reader.states([one.tokens for one in located], wanted)
    ends = np.cumsum([0, *map(len, wanted)])
    rows = [
        end + np.searchsorted(want, one)
        for end, want, those in zip(ends[:-1], wanted, tokens, strict=True)
        for one in those
    ]
    flat, counts = np.concatenate(rows), np.array([len(row) for row in rows])
    ids = np.concatenate([one.tokens[want] for one, want in zip(located, wanted, strict=True)])
    begins = np.cumsum(counts) - counts
    mean = lambda vectors: np.add.reduceat(vectors[flat], begins, axis=0) / counts[:, None].astype(np.float32)
    every = [unit for those in units for unit in those]
    return Vectors(
        texts=np.repeat(np.arange(first, first + len(units)), [len(those) for those in units]),
        starts=np.array([unit.start for unit in every]),
        stops=np.array([unit.stop for unit in every]),
        words=[unit.word for unit in every],
        vectors=mean(states),
        static=mean(reader.table[ids]),
    )


def _chunks(texts: Iterable[str]) -> Iterator[tuple[int, list[str]]]:
    """(number of the first text, some texts)."""
    chunk: list[str] = []
    size = first = 0
    for number, text in enumerate(texts, 1):
        chunk.append(text)
        size += len(text)
        if size >= CHUNK_CHARS or len(chunk) == CHUNK_TEXTS:
            yield first, chunk
            chunk, size, first = [], 0, number
    if chunk:
        yield first, chunk
