# SPDX-License-Identifier: Apache-2.0
"""`ssl-jax embed`: vectors of typed texts or of a file's, to a file, as a picture and as a table."""

import contextlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ssl_jax import data
from ssl_jax.data.readers import Bad
from ssl_jax.data.sources import open_sources
from ssl_jax.loop.seal import write_atomically
from ssl_jax.report import heatmap
from ssl_jax.report.png import png, require_png
from ssl_jax.types import UserError
from ssl_jax.use import embed, vectors_file
from ssl_jax.weights import Loaded

DRAWN = 60  # places in a picture: more can't be read
COMPARED = 1000  # vectors of which a table shows the most and the least alike
NEAREST, FARTHEST = 12, 4  # pairs in the table
WATCHED = 32  # texts; so many are done before a bar could be read


@dataclass(frozen=True)
class Texts:
    """Texts that can be read again; count: how many there are."""

    read: Callable[[], Iterator[str]]
    count: int

    def numbered(self, numbers: Sequence[int]) -> dict[int, str]:
        """Some of the texts by their number, from 0."""
        first = itertools.islice(self.read(), max(numbers) + 1)
        wanted = set(numbers)
        return {number: text for number, text in enumerate(first) if number in wanted}


def typed(texts: Sequence[str]) -> Texts:
    for number, text in enumerate(texts, 1):
        if not text.strip():
            raise UserError(f"text {number} is empty; give --text some text")
    return Texts(lambda: iter(texts), len(texts))


def of_file(file: str, text_key: str, console: Any) -> Texts:
    """A text a line, or a record (.jsonl, .parquet).  Reads it once, to count and to find what is wrong."""
    if not Path(file).is_file():
        raise UserError(f"there is no file {file}")
    (source,) = open_sources(data.Data(source=file, text_key=text_key, unit=data.Unit.LINE))

    def read() -> Iterator[str]:
        for record in source.records():
            if isinstance(record, Bad):
                raise UserError(str(record).replace("set data.text_key", "name it with --text-key"))
            yield record

    count, blank = 0, True
    for count, text in enumerate(read(), 1):
        blank = blank and not text.strip()
        if count % 10_000 == 0:
            console.progress("read", count, None, "texts")
    if blank:
        raise UserError(f"{file}: there is no text in it")
    return Texts(read, count)


@dataclass(frozen=True)
class Output:
    """Where vectors go: a .npz or .parquet file, a picture (.svg, .png), both; neither prints a table."""

    file: Path | None = None
    picture: Path | None = None

    def check(self, word: str | None) -> None:
        """Before anything is computed.  Raises UserError."""
        if self.picture is None:
            return
        if word is None:
            raise UserError("a heatmap shows one word in many texts: say which with --word")
        if self.picture.suffix not in (".svg", ".png"):
            raise UserError(f"{self.picture}: a heatmap goes into a file that ends in .svg or .png")
        if not self.picture.parent.is_dir():
            raise UserError(f"{self.picture}: there is no folder {self.picture.parent}")
        if self.picture.suffix == ".png":
            require_png()

    @property
    def kept(self) -> int:
        """How many vectors are looked at together; a file takes any number."""
        return DRAWN if self.picture is not None else COMPARED


def run(
    loaded: Loaded, texts: Texts, output: Output, console: Any, *, word: str | None, layers: str, **how: Any
) -> None:
    """how: what else `embed.stream` takes.  Raises UserError."""
    output.check(word)
    parts = embed.stream(
        loaded.model,
        loaded.tokenizer,
        _watched(texts, console),
        word=word,
        text=loaded.network.text,
        layers=embed.Layers.parse(layers, loaded.model.trunk.spec.num_layers),
        **how,
    )
    with contextlib.ExitStack() as stack:
        writer = stack.enter_context(vectors_file.writing(output.file)) if output.file else None
        kept, total = _gathered(parts, output.kept, writer)
        if total == 0:
            raise UserError(f"{word!r} is in none of the texts; case and accents count")
    if output.file is not None:
        width = kept.vectors.shape[1]
        console.print(f"{output.file}: {total:,} x {width:,} numbers; texts: {texts.count:,}")
    elif total > output.kept:
        console.warn(f"more than {output.kept:,} were found: these are the first {output.kept:,}")
    if output.picture is not None:
        title = f"“{word}” in {len(kept)} places (layers: {layers})"
        _draw(kept, texts, title, output.picture, console)
    elif output.file is None:
        _tables(kept, texts, console)


def _watched(texts: Texts, console: Any) -> Iterator[str]:
    """The texts; when one is asked for, those before it are done, or in hand."""
    for number, text in enumerate(texts.read()):
        if texts.count > WATCHED:
            console.progress("embed", number, texts.count, "texts")
        yield text
    if texts.count > WATCHED:
        console.progress("embed", texts.count, texts.count, "texts")


def _gathered(
    parts: Iterator[embed.Vectors], most: int, writer: vectors_file.Writer | None
) -> tuple[embed.Vectors | None, int]:
    """(the first `most` vectors, how many there are); without a writer no more are made than that."""
    kept: list[embed.Vectors] = []
    total = 0
    for part in parts:
        if total < most:
            kept.append(part.first(most - total))
        total += len(part)
        if writer is not None:
            writer.add(part)
        elif total > most:
            break
    return (embed.joined(kept) if kept else None), total


def _places(vectors: embed.Vectors, texts: Texts) -> list[heatmap.Place]:
    numbers = vectors.texts.tolist()
    there = texts.numbered(numbers)
    spans = zip(numbers, vectors.starts.tolist(), vectors.stops.tolist())
    return [heatmap.place(number + 1, there[number], a, b) for number, a, b in spans]


def _draw(vectors: embed.Vectors, texts: Texts, title: str, picture: Path, console: Any) -> None:
    order = heatmap.order(vectors.vectors)
    places = _places(vectors, texts)
    contextual, static = embed.cosines(vectors.vectors[order]), embed.cosines(vectors.static[order])
    drawing = heatmap.svg([places[i] for i in order], contextual, static, title)
    if picture.suffix == ".svg":
        write_atomically(picture, drawing)
    else:
        drawn = png(drawing)
        write_atomically(picture, drawn.data)
        if drawn.missing:
            letters = drawn.missing[:40] + "…" * (len(drawn.missing) > 40)
            console.warn(f"no font here has {letters}: install one that does (Noto), or draw an .svg")
    console.print(f"{picture}: {len(vectors)} places; similar ones are neighbours")


def _tables(vectors: embed.Vectors, texts: Texts, console: Any) -> None:
    """The most and the least alike pairs."""
    count = len(vectors)
    console.print(f"vectors: {count:,} x {vectors.vectors.shape[1]:,} numbers; texts: {texts.count:,}")
    if count < 2:
        console.print("it takes two to compare; --out FILE.npz keeps what was found")
        return
    contextual, static = embed.cosines(vectors.vectors), embed.cosines(vectors.static)
    a, b = np.triu_indices(count, 1)
    order = np.argsort(-contextual[a, b], kind="stable")
    few = len(order) <= NEAREST + FARTHEST
    names = [str(place) for place in _places(vectors, texts)]

    def show(title: str, pairs: np.ndarray) -> None:
        rows = [
            [float(contextual[i, j]), float(static[i, j]), names[i], names[j]]
            for i, j in zip(a[pairs], b[pairs])
        ]
        console.table(title, rows, ["cosine", "static", "one", "other"])

    show("all pairs, the most alike first" if few else "nearest pairs", order if few else order[:NEAREST])
    if not few:
        show("farthest pairs", order[-FARTHEST:])
