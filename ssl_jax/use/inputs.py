# SPDX-License-Identifier: Apache-2.0
"""Texts of a file, one record a line, in the form that its name says; batches of them, and their sizes.

Memory: a line, or a batch of them, whatever the size of the file.
"""

import itertools
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ssl_jax.data.files import suffix
from ssl_jax.data.readers import Bad, decoded
from ssl_jax.types import UserError

JSON = (".jsonl", ".ndjson", ".json")
FIELDS = (("text", "second"), ("question", "context"), ("prompt",))  # of a JSON object, the first that fits
SHORTEST = 64  # lengths are rounded up to this times a power of two, so that few programs are compiled
MAX_BYTES = 1 << 28  # of a line
_LINE_END = re.compile(rb"\n")


class Line(NamedTuple):
    """where: the file and the line, for what is wrong with it."""

    where: str
    texts: tuple[str, ...]


def read(path: str | Path) -> Iterator[Line]:
    """One text a line, or two: JSON lines (`.jsonl`), columns (`.tsv`), or the whole line a text.

    JSON: a string, a list of one or two, or an object with `text` and perhaps `second`, with `question` and
    `context`, or with `prompt`.  `.gz`, `.xz` and `.zst` are opened.  Blank lines don't count.  Raises
    UserError, with file and line, for what is none of that.
    """
    path = Path(path)
    kind, _ = suffix(path.name)
    for number, line in _lines(path):
        where = f"{path}: line {number}"
        if kind in JSON:
            texts = _texts(_parsed(line, where), where)
        else:
            texts = tuple(line.split("\t")) if kind == ".tsv" else (line,)
        if not 1 <= len(texts) <= 2:
            raise UserError(f"{where}: {len(texts)} texts; one or two are read")
        yield Line(where, texts)


def objects(path: str | Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(file and line, object) of each line of JSON lines.  Raises UserError as read does."""
    for number, line in _lines(Path(path)):
        where = f"{path}: line {number}"
        value = _parsed(line, where)
        if not isinstance(value, dict):
            raise UserError(f"{where}: not a JSON object")
        yield where, value


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """(number from 1, text) of each line that isn't blank."""
    if not path.is_file():
        raise UserError(f"{path}: there is no such file")
    for where, line in decoded(path, _LINE_END, 0, MAX_BYTES):
        if isinstance(line, Bad):
            raise UserError(str(line))
        if not line.isspace():
            yield where()[1], line.removesuffix("\r")


def _parsed(line: str, where: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: not JSON: {error}") from error


def _texts(value: Any, where: str) -> tuple[str, ...]:
    if isinstance(value, dict):
        names = next((fields for fields in FIELDS if fields[0] in value), None)
        if names is None:
            known = ", ".join(" and ".join(fields) for fields in FIELDS)
            raise UserError(f"{where}: none of the fields {known} is in it")
        value = [value[name] for name in names if name in value]
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise UserError(f"{where}: not a text, nor a list or an object of texts")
    return tuple(texts)


def batched(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    items = iter(items)
    while batch := list(itertools.islice(items, size)):
        yield batch


def power_of_two(count: int) -> int:
    """count rounded up."""
    return 1 << (count - 1).bit_length()


def bucket(length: int, limit: int) -> int:
    """A row's length rounded up, to at most limit."""
    return min(max(SHORTEST, power_of_two(length)), limit)
