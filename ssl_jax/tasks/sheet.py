# SPDX-License-Identifier: Apache-2.0
"""Rows under named columns: of TSV, CSV and JSON lines, compressed or not, and of TFDS builders."""

import csv
import io
import itertools
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ssl_jax.data.files import chunks, suffix
from ssl_jax.data.tfds import data_source, fetch
from ssl_jax.types import UserError

KINDS = (".tsv", ".csv", ".jsonl")
_FETCH = 256  # TFDS examples at once

Cell = str | None  # None: not known


@dataclass(frozen=True)
class Sheet:
    """name: the file, or the builder and split.  names: its columns.  rows: (its line, or number, cells)."""

    name: str
    names: tuple[str, ...]
    rows: Iterable[tuple[int, Sequence[Cell]]]
    unit: str = "line"

    def place(self, number: int) -> str:
        return f"{self.name}: {self.unit} {number}"

    def find(self, *names: str) -> int | None:
        """The index of the first of these columns that is there."""
        return next((self.names.index(name) for name in names if name in self.names), None)

    def index(self, *names: str) -> int:
        """As `find`.  Raises UserError that lists the columns."""
        found = self.find(*names)
        if found is None:
            there = ", ".join(self.names)
            raise UserError(f"{self.name} has no column {' or '.join(names)}; it has: {there}")
        return found


# ------------------------------------------------------------------------------------------- files


def split_files(folder: Path, kinds: Sequence[str] = KINDS) -> dict[str, Path]:
    """Split -> its file, `dev.tsv` or `dev.tsv.gz`; of two the one that comes first."""
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}")
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        kind, packed = suffix(path.name)
        if kind in kinds and path.is_file():
            found.setdefault(path.name.removesuffix(packed).removesuffix(kind), path)
    return found


def read_sheet(path: Path, *, short: bool = False) -> Sheet:
    """A file by its suffix: .csv has the quotes of RFC 4180, .jsonl is one object a line, all others are
    separated by tabs and have no quoting at all, as GLUE's.  The first line names the columns.

    short: rows with too few cells are read, padded with None; otherwise rows of another number of cells than
    the first are a UserError, as is a file that is empty or not UTF-8.
    """
    kind, _ = suffix(path.name)
    if kind == ".jsonl":
        return _objects(path)
    rows = quoted_rows(path) if kind == ".csv" else tab_rows(path)
    _, names = next(rows)
    return Sheet(str(path), tuple(names), of_width(path, rows, len(names), short))


def lines_of(path: Path) -> Iterator[tuple[int, str]]:
    """(number from 1, line with its line feed).  Nothing but a line feed ends a line: other characters that
    might occur inside sentences.  Raises UserError where there is nothing but white space, or no UTF-8."""
    if not path.is_file():
        raise UserError(f"there is no file {path}")
    raw = b"".join(chunks(path)).removeprefix(b"\xef\xbb\xbf")
    if not raw.strip():
        raise UserError(f"{path}: the file is empty")
    for number, line in enumerate(io.BytesIO(raw), start=1):
        try:
            yield number, line.decode()
        except UnicodeDecodeError as error:
            byte = line[error.start]
            raise UserError(f"{path}: line {number}: not UTF-8 (byte 0x{byte:02x})") from None


def tab_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    for number, line in lines_of(path):
        if line.strip("\r\n"):
            yield number, line.removesuffix("\n").removesuffix("\r").split("\t")


def quoted_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    csv.field_size_limit(sys.maxsize)
    reader = csv.reader((line for _, line in lines_of(path)), strict=True)
    try:
        for row in reader:
            if row:
                yield reader.line_num, row
    except csv.Error as error:
        raise UserError(f"{path}: line {reader.line_num}: {error}") from None


def of_width(
    path: Path, rows: Iterable[tuple[int, Sequence[str]]], width: int, short: bool
) -> Iterator[tuple[int, Sequence[Cell]]]:
    for number, row in rows:
        if short and len(row) < width:
            row = [*row, *[None] * (width - len(row))]
        elif len(row) != width:
            raise UserError(f"{path}: line {number}: {len(row)} columns, the first line has {width}")
        yield number, row


def _objects(path: Path) -> Sheet:
    """The first object names the columns; a key that a later one lacks is not known there."""

    def parsed() -> Iterator[tuple[int, dict[str, object]]]:
        for number, line in lines_of(path):
            if not line.strip():
                continue
            try:
                value = json.loads(line)
            except ValueError as error:
                raise UserError(f"{path}: line {number}: not JSON ({error})") from None
            if not isinstance(value, dict):
                raise UserError(f"{path}: line {number}: not an object, but {type(value).__name__}")
            yield number, value

    objects = parsed()
    first = next(objects)
    names = tuple(first[1])
    every = itertools.chain([first], objects)
    return Sheet(str(path), names, ((n, [_cell(value.get(name)) for name in names]) for n, value in every))


def _cell(value: object) -> Cell:
    return value if value is None or isinstance(value, str) else json.dumps(value)


# -------------------------------------------------------------------------------------------- TFDS


def tfds_sheet(name: str, split: str) -> Sheet:
    """A split, or a slice of one, of a TFDS builder such as "glue/sst2": the features that are a text, a
    number or a class (by its name; -1 is one that isn't known)."""
    examples, builder = data_source(name, split)
    where = f"tfds:{name}:{split}"
    features = builder.info.features
    classes = {key: feature.int2str for key, feature in features.items() if hasattr(feature, "int2str")}
    if not len(examples):
        raise UserError(f"{where}: the split is empty")
    first = fetch(examples, [0], builder, where)[0]
    names = tuple(k for k, value in first.items() if np.ndim(value) == 0 and not isinstance(value, dict))

    def cell(key: str, value: object) -> Cell:
        if key in classes:
            return classes[key](int(value)) if int(value) >= 0 else None
        if isinstance(value, bytes | str):
            return value.decode() if isinstance(value, bytes) else value
        return str(np.dtype(features[key].np_dtype).type(value))  # 3.8, as the float32 that it is

    def rows() -> Iterator[tuple[int, Sequence[Cell]]]:
        for start in range(0, len(examples), _FETCH):
            numbers = range(start, min(start + _FETCH, len(examples)))
            for number, example in zip(numbers, fetch(examples, numbers, builder, where), strict=True):
                yield number, [cell(key, example[key]) for key in names]

    return Sheet(where, names, rows(), unit="example")
