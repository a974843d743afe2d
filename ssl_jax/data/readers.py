# SPDX-License-Identifier: Apache-2.0
"""Records of files: plain text, JSON lines, Parquet.  Memory: one document, whatever the file's size."""

import dataclasses
import functools
import itertools
import json
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from ssl_jax.data.config import Unit
from ssl_jax.data.files import EXPANSION, chunks, content_hash, suffix

_PATTERNS = {
    Unit.LINE: re.compile(rb"\n"),
    Unit.BLOCK: re.compile(rb"\n(?:[ \t\r]*\n)+"),
    Unit.SECTION: re.compile(rb"\n(?:\r?\n){2,}"),
}
_BLANK = b" \t\r\n"
_HEAD = 4 << 20


@dataclass(frozen=True)
class Bad:
    """A record that can't be used.  offset: of its fault in the decompressed file, in bytes (rows: row)."""

    file: str
    offset: int
    reason: str
    line: int | None = None
    unit: str = "byte"

    def __str__(self) -> str:
        line = "" if self.line is None else f" (line {self.line})"
        return f"{self.file}: {self.unit} {self.offset}{line}: {self.reason}"


Record = str | Bad


class Input(Protocol):
    """One file, or one split of a data set: a stream of documents that can be begun in the middle."""

    @property
    def name(self) -> str: ...  # independent of where the corpus lies
    @property
    def size(self) -> float: ...  # characters, roughly; only shares out the tokenizer's sample
    def identity(self) -> list[Any]: ...  # JSON; changes when the documents may have changed
    def records(self, start: int = 0) -> Iterator[Record]: ...  # without the first `start` records
    def cut(self, count: int) -> "tuple[Input, ...]": ...  # at most so many, with the same records in order


def regions(pieces: Iterable[bytes], pattern: re.Pattern[bytes] | None, held: int, limit: int):
    """(offset, bytes, dropped): stretches of a stream that end where a document ends.

    pattern: what separates documents (None: nothing does); held: bytes at the end of what was read that may
    be the beginning of a literal separator (-1: trailing white space may be).  Where the first document of
    a stretch grew past `limit` bytes, only its end is in the stretch; dropped is (bytes, line feeds) before.
    """
    pending: list[bytes] = []
    hold, offset, size, dropped = b"", 0, 0, (0, 0)
    for piece in pieces:
        window = hold + piece
        end = len(window.rstrip(_BLANK)) if held < 0 else max(0, len(window) - held)
        cut = _last_end(window, pattern, end, literal=held >= 0)
        if cut:
            region = b"".join([*pending, window[:cut]])
            yield offset, region, dropped
            offset += size + cut
            pending, size, dropped = [], 0, (0, 0)
        kept = window[cut:end] if end > cut else b""
        hold = window[cut + len(kept) :]
        size += len(kept)
        if kept:
            pending.append(kept)
        if size > limit:
            feeds = sum(part.count(b"\n") for part in pending)
            dropped = (dropped[0] + sum(map(len, pending)), dropped[1] + feeds)
            pending.clear()
    if size or hold:
        yield offset, b"".join([*pending, hold]), dropped


def _last_end(window: bytes, pattern: re.Pattern[bytes] | None, end: int, literal: bool) -> int:
    """The end of the last whole separator in window[:end], 0 where there is none."""
    if pattern is None:
        return 0
    if literal:
        starts = [m.end() for m in pattern.finditer(window)]
        return starts[-1] if starts else 0
    at = window.rfind(b"\n", 0, end)
    while at >= 0:
        match = pattern.match(window, at)
        if match and match.end() <= end:
            return match.end()
        at = window.rfind(b"\n", 0, at)
    return 0


@dataclass(frozen=True)
class File:
    """piece: (k, n) is the k-th of n pieces of the file, cut by what its size says of its text's length."""

    name: str
    path: Path
    max_bytes: int
    piece: tuple[int, int] = field(default=(0, 1), kw_only=True)

    @property
    def size(self) -> float:
        kind, packed = suffix(self.name)
        return self.path.stat().st_size * EXPANSION.get(packed or kind, 1.0) / self.piece[1]

    def cut(self, count: int) -> tuple[Input, ...]:
        return tuple(dataclasses.replace(self, piece=(k, count)) for k in range(count))

    def _span(self) -> tuple[float, float]:
        """The piece's documents begin at these bytes of the decompressed text; the last piece is open."""
        k, n = self.piece
        width = int(self.size) if n > 1 else 0
        return k * width, (k + 1) * width if k + 1 < n else math.inf

    def records(self, start: int = 0) -> Iterator[Record]:
        return itertools.islice(self._records(), start, None)


@dataclass(frozen=True)
class TextInput(File):
    unit: Unit = Unit.LINE
    separator: str | None = None

    def identity(self) -> list[Any]:
        return ["text", self.name, content_hash(self.path), self.unit.value, self.separator]

    def _records(self) -> Iterator[Record]:
        pattern = (
            re.compile(re.escape(self.separator.encode())) if self.separator else _PATTERNS.get(self.unit)
        )
        if self.separator:
            held = len(self.separator.encode()) - 1
        else:
            held = 0 if self.unit in (Unit.LINE, Unit.FILE) else -1
        for _, text in decoded(self.path, pattern, held, self.max_bytes, self._span()):
            if isinstance(text, Bad):
                yield text
            elif not text.isspace():
                yield text.replace("\r\n", "\n") if "\r" in text else text


def decoded(
    path: Path,
    pattern: re.Pattern[bytes] | None,
    held: int,
    limit: int,
    span: tuple[float, float] = (0, math.inf),
):
    """(where, text or Bad) for each document that isn't empty and begins in the span; where() is its
    (offset, line).  What lies before the span is read, since nothing says where its documents end."""
    lines = 0
    for offset, region, (missing, feeds) in regions(chunks(path), pattern, held, limit):
        if offset == 0:
            kind = _not_text(region)
            if kind:
                yield None, Bad(str(path), 0, kind, 1)
                return
            if region.startswith(b"\xef\xbb\xbf"):
                region, offset = region[3:], 3
        if offset >= span[1]:
            return
        end = offset + missing + len(region)
        if end <= span[0]:
            lines += feeds + region.count(b"\n")
            continue
        if missing and offset >= span[0]:
            yield None, Bad(str(path), offset, f"a document of more than {limit} bytes", lines + 1)
        offset, lines = offset + missing, lines + feeds
        where = _Where(region, pattern, offset, lines)
        clean = b"\0" not in region
        documents = pattern.split(region) if pattern else [region]
        whole = span[0] <= offset and end <= span[1]
        for i, raw in enumerate(documents):
            if missing and i == 0:
                continue  # the end of that document
            if not whole and not span[0] <= where.start(i) < span[1]:
                continue
            if len(raw) > limit:
                at, line = where(i)
                yield None, Bad(str(path), at, f"a document of more than {limit} bytes", line)
                continue
            if not raw:
                continue
            try:
                text = raw.decode()
            except UnicodeDecodeError as error:
                at, line = where(i, error.start)
                yield None, Bad(str(path), at, f"not UTF-8 (byte 0x{raw[error.start]:02x})", line)
                continue
            if not clean and "\0" in text:
                at, line = where(i, raw.index(b"\0"))
                yield None, Bad(str(path), at, "a NUL byte: not text", line)
                continue
            yield functools.partial(where, i), text
        lines += region.count(b"\n")


def _not_text(head: bytes) -> str | None:
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "UTF-16, not UTF-8; convert it: iconv -f UTF-16 -t UTF-8"
    head = head[:8192]
    if head.count(b"\0") > max(2, len(head) / 100):  # fewer are strays in a text: bad records of their own
        return "a binary file (NUL bytes), not text"
    return None


class _Where:
    """Byte offset and line of a document of a region: worked out only where they are asked for."""

    def __init__(self, region: bytes, pattern: re.Pattern[bytes] | None, offset: int, lines: int):
        self._region, self._pattern, self._offset = region, pattern, offset
        self._seen, self._line = 0, lines + 1

    @functools.cached_property
    def _starts(self) -> list[int]:
        return [0, *(m.end() for m in self._pattern.finditer(self._region))] if self._pattern else [0]

    def start(self, document: int) -> int:
        return self._offset + self._starts[document]

    def __call__(self, document: int, within: int = 0) -> tuple[int, int]:
        at = self._starts[document] + within
        self._line += self._region.count(b"\n", self._seen, at)  # documents are asked for in order
        self._seen = at
        return self._offset + at, self._line


@dataclass(frozen=True)
class JsonInput(File):
    text_key: str = "text"

    def identity(self) -> list[Any]:
        return ["json", self.name, content_hash(self.path), self.text_key]

    def _records(self) -> Iterator[Record]:
        for where, line in decoded(self.path, _PATTERNS[Unit.LINE], 0, self.max_bytes, self._span()):
            if isinstance(line, Bad):
                yield line
            elif not line.isspace():
                text, reason = self._text(line)
                yield text if reason is None else Bad(str(self.path), where()[0], reason, where()[1])

    def _text(self, line: str) -> tuple[str, str | None]:
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            return "", f"not JSON: {error}"
        if not isinstance(value, dict):
            return "", "not a JSON object"
        text = value.get(self.text_key)
        return check_text(text, self.text_key, key_is_there=self.text_key in value)


def check_text(value: Any, key: str, key_is_there: bool = True) -> tuple[str, str | None]:
    """(text, None), or ("", what is wrong with the field)."""
    if not key_is_there:
        return "", f"no field {key!r} (set data.text_key)"
    if isinstance(value, bytes):
        try:
            value = value.decode()
        except UnicodeDecodeError:
            return "", f"field {key!r} is not UTF-8"
    if not isinstance(value, str):
        return "", f"field {key!r} holds {'nothing' if value is None else type(value).__name__}, not text"
    if "\0" in value:
        return "", f"field {key!r} holds a NUL character"
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            return "", f"field {key!r} holds half a surrogate pair"
    return value, None


def detect_unit(path: Path, several: bool) -> Unit:
    """What `Unit.AUTO` stands for: see there.  several: the source holds more than one file."""
    if several and path.stat().st_size * EXPANSION.get(path.suffix, 1.0) < _HEAD:
        return Unit.FILE
    head = b""
    for chunk in chunks(path):
        head += chunk
        if len(head) >= _HEAD:
            break
    head = head.strip(_BLANK)
    for unit in (Unit.SECTION, Unit.BLOCK, Unit.LINE):
        if _PATTERNS[unit].search(head):
            return unit
    return Unit.FILE
