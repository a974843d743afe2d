# SPDX-License-Identifier: Apache-2.0
"""Vectors of tokens, words and sentences as a model sees them where they stand.

Works on the trunk alone, whatever heads there are.  n tokens of a text, N vectors, L levels taken of them,
B rows of T positions, D width.
"""

import enum
import functools
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int

from ssl_jax import nn
from ssl_jax.text import Text
from ssl_jax.text.spans import Located, locate
from ssl_jax.types import UserError
from ssl_jax.use.inputs import bucket, power_of_two

CHUNK_CHARS, CHUNK_TEXTS = 1 << 17, 1024  # so much text is held at once, or one longer text


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
    if word is not None and not word.strip():
        raise UserError("the word to look for is empty")
    reader = _Reader(model.trunk, tokenizer, layers, batch_size)
    for first, chunk in _chunks(texts):
        located = [locate(tokenizer, one) for one in chunk]
        units = [units_of(tokenizer, one, text, by, word and word.strip()) for one in located]
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
    reader: "_Reader",
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


# ------------------------------------------------------------------------------------------- windows


class Window(NamedTuple):
    """Tokens [start, stop) are read together; the states of [first, last) are taken from here."""

    start: int
    stop: int
    first: int
    last: int


def windows(count: int, room: int, causal: bool) -> list[Window]:
    """Windows of at most room tokens that overlap by half.  A token is taken from the window in which the
    shorter of its two sides is longest, or, where it sees to the left alone, from the first that holds it."""
    stride = max(1, room // 2)
    starts = [*range(0, max(1, count - room), stride)]
    if count > room:
        starts.append(count - room)
    stops = [min(start + room, count) for start in starts]
    cuts = stops[:-1] if causal else [(a + b) // 2 for a, b in zip(starts[1:], stops[:-1], strict=True)]
    return [Window(*w) for w in zip(starts, stops, [0, *cuts], [*cuts, count], strict=True)]


class _Reader:
    """Runs a trunk over texts of any lengths, in batches of few shapes."""

    def __init__(self, trunk: Any, tokenizer: Any, layers: Layers, batch_size: int):
        self._spec, specials = trunk.spec, tokenizer.specials
        opening, closing = (specials.bos, None) if self._spec.causal else (specials.cls, specials.sep)
        self._opening, self._closing = (
            np.array([t for t in [special] if t is not None], np.int32) for special in (opening, closing)
        )
        self._pad = specials.pad
        self._levels = layers.resolved(self._spec.num_layers)
        self._mean = layers.mean
        self._batch_size = batch_size
        self._devices = jax.local_devices()
        mesh = Mesh(np.array(self._devices), ("rows",))
        self._rows = NamedSharding(mesh, PartitionSpec("rows"))
        self._graphdef, params = nn.split(trunk)
        self._params = jax.device_put(params, NamedSharding(mesh, PartitionSpec()))
        self.table = np.asarray(trunk.table, np.float32)
        self.width = self._spec.dim * (1 if self._mean else len(self._levels))

    def states(
        self, texts: list[Int[np.ndarray, " n"]], wanted: list[Int[np.ndarray, " w"]]
    ) -> Float[np.ndarray, "W E"]:
        """The states of the wanted tokens (numbers within their text, rising), one text after another."""
        room = self._spec.max_positions - len(self._opening) - len(self._closing)
        if room < 1:
            raise UserError(f"this MODEL has {self._spec.max_positions} positions: no room for a token")
        out = np.zeros((sum(map(len, wanted)), self.width), np.float32)
        rows, end = [], 0
        for tokens, want in zip(texts, wanted, strict=True):
            for window in windows(len(tokens), room, self._spec.causal):
                a, b = np.searchsorted(want, [window.first, window.last])
                if a < b:
                    row = np.concatenate([self._opening, tokens[window.start : window.stop], self._closing])
                    where = want[a:b] - window.start + len(self._opening)
                    rows.append((row, where, slice(end + a, end + b)))
            end += len(want)
        rows.sort(key=lambda row: len(row[0]))  # so that a batch has little padding
        for i in range(0, len(rows), self._batch_size):
            group = rows[i : i + self._batch_size]
            for (_, where, place), found in zip(group, self._run([row for row, _, _ in group])):
                out[place] = found[where]
        return out

    def _run(self, rows: list[Int[np.ndarray, " n"]]) -> Float[np.ndarray, "B T E"]:
        """Rows and positions are padded up, so that few programs are compiled."""
        length = bucket(max(map(len, rows)), self._spec.max_positions)
        count = -(-power_of_two(len(rows)) // len(self._devices)) * len(self._devices)
        tokens = np.full((count, length), self._pad, np.int32)
        segments = np.zeros((count, length), np.int32)
        for i, row in enumerate(rows):
            tokens[i, : len(row)], segments[i, : len(row)] = row, 1
        inputs = jax.device_put((tokens, segments), self._rows)
        return np.asarray(_states(self._graphdef, self._levels, self._mean, self._params, *inputs))


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _states(
    graphdef: Any,
    levels: tuple[int, ...],
    mean: bool,
    params: Any,
    tokens: Int[Array, "B T"],
    segments: Int[Array, "B T"],
) -> Float[Array, "B T E"]:
    """The levels' states, averaged or end to end.  float32 from the embeddings on, whatever the model was
    trained in: in bfloat16 a vector would depend on its company."""
    trunk = nn.merge(graphdef, params)
    x = trunk.embed(tokens, segments).astype(jnp.float32)
    chosen = trunk(x, segments, every=True)[np.array(levels)]
    return chosen.mean(axis=0) if mean else jnp.concatenate(list(chosen), axis=-1)
