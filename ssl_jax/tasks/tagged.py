# SPDX-License-Identifier: Apache-2.0
"""Sentences of tagged words as they are distributed: files in CoNLL columns, and TFDS builders."""

import fnmatch
import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ssl_jax.data.files import COMPRESSED, chunks
from ssl_jax.data.tfds import data_source
from ssl_jax.types import UserError

DOCUMENT = "-DOCSTART-"  # a line that begins with it stands between documents


@dataclass(frozen=True, kw_only=True)
class Columns:
    """How a file is read: a word a line, its columns between tabs, or in a file without tabs between spaces.

    word, tag: which column holds it, from 0; -1 is the last.  number: the column of CoNLL-U's word numbers,
    where a range (1-2, a contraction that the next lines spell out) or a fraction (8.1, a word that was left
    out) marks a line that is no word; None where there is no such column.  comment: what begins a comment
    above a sentence; None where nothing does, since a word may be "#".
    """

    word: int = 0
    tag: int = -1
    number: int | None = None
    comment: str | None = None


@dataclass(frozen=True, kw_only=True)
class Features:
    """A TFDS builder, its features and how it calls its splits."""

    name: str
    words: str = "tokens"
    tags: str = "ner"
    dev: str = "dev"


class Sentence(NamedTuple):
    """words [W], their tags (None where the file has none), and the row of each in the file, from 1."""

    words: list[str]
    tags: list[str] | None
    lines: list[int]


def one_file(folder: Path, split: str, patterns: Sequence[str]) -> Path:
    """The file of a split.  Raises UserError where there is none, or more than one."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; --data names one that holds a file for each split")
    found = []
    for path in sorted(folder.iterdir()):
        name = path.stem if path.suffix in COMPRESSED else path.name
        if path.is_file() and any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns):
            found.append(path)
    if len(found) == 1:
        return found[0]
    what = f"{', '.join(path.name for path in found)} all look like it" if found else "there is none"
    raise UserError(f"{folder}: which file is {split}? {what}; --set task.{split}=NAME")


def read_columns(path: Path, columns: Columns) -> Iterator[Sentence]:
    """The sentences of a file.  Raises UserError, with its row, for one that lacks a column or a value."""
    is_blank = lambda numbered: not numbered[1].strip(" \t") or numbered[1].startswith(DOCUMENT)
    places = None
    for blank, rows in itertools.groupby(enumerate(text_lines(path), 1), key=is_blank):
        found = Sentence([], [], [])
        for number, line in () if blank else rows:
            if columns.comment is not None and not found.words and line.startswith(columns.comment):
                continue
            cells = [cell.strip(" ") for cell in re.split("\t" if "\t" in line else " +", line.strip(" "))]
            places = places or places_of(cells, columns, f"{path.name}: row {number}")
            if len(cells) != places.count:
                what = f"it has {len(cells)} columns, and the rows before have {places.count}"
                raise UserError(f"{path.name}: row {number}: {what}")
            if places.number is not None and re.fullmatch(r"\d+[-.]\d+", cells[places.number]):
                continue
            word, tag = cells[places.word], None if places.tag is None else cells[places.tag]
            if not word or tag == "":
                what = "word" if not word else "tag"
                raise UserError(f"{path.name}: row {number}: the column of the {what} is empty")
            found.words.append(word)
            found.tags.append(tag)
            found.lines.append(number)
        if found.words:
            yield found if places.tag is not None else found._replace(tags=None)


class Places(NamedTuple):
    """How many columns a file has, and which of them, from 0, hold what."""

    count: int
    word: int
    tag: int | None
    number: int | None


def places_of(cells: Sequence[str], columns: Columns, where: str) -> Places:
    """The places in a file with such a first row.  Raises UserError where it has too few columns."""
    count = len(cells)
    from_front = lambda column: column + count if column < 0 else column
    for name in ("word", "number"):
        column = getattr(columns, name)
        if column is not None and not 0 <= from_front(column) < count:
            what = f"task.columns.{name}={column} names none of its {count} columns"
            raise UserError(f"{where}: too few columns: {what}")
    word, tag = from_front(columns.word), from_front(columns.tag)
    number = None if columns.number is None else from_front(columns.number)
    return Places(count, word, tag if 0 <= tag < count and tag != word else None, number)


def text_lines(path: Path) -> Iterator[str]:
    """The lines of a file, compressed or not.  Raises UserError where it can't be read as UTF-8."""
    for number, line in enumerate(b"".join(chunks(path)).removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        try:
            yield line.removesuffix(b"\r").decode()
        except UnicodeDecodeError:
            raise UserError(f"{path.name}: row {number}: not UTF-8") from None


def read_features(features: Features, split: str) -> Iterator[Sentence]:
    """The sentences of a TFDS builder; its examples are the rows, from 1."""
    examples, builder = data_source(features.name, features.dev if split == "dev" else split)
    known = builder.info.features
    if missing := [name for name in (features.words, features.tags) if name not in known]:
        raise UserError(
            f"tfds:{features.name}: no feature {missing[0]!r}; it has: {', '.join(sorted(known))}"
        )
    names = getattr(known[features.tags].feature, "names", None)
    for number in range(len(examples)):
        example = examples[number]
        words = [word.decode() for word in example[features.words]]
        tags = list(example[features.tags])
        if names is None:
            tags = [tag.decode() for tag in tags]
        else:
            tags = [names[tag] for tag in tags] if min(tags, default=0) >= 0 else None  # -1: not known
        if words:
            yield Sentence(words, tags, [number + 1] * len(words))
