# SPDX-License-Identifier: Apache-2.0
"""A bounded, deterministic sample of a stream of texts, to train a tokenizer on."""

import heapq
import itertools
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator

import numpy as np

from ssl_jax.text.chars import clean
from ssl_jax.types import Progress, UserError

LINE = 2000  # characters: longer lines are cut, never skipped (sentencepiece skips above 4192 bytes)


def lines(text: str) -> Iterator[str]:
    """The text's lines, long ones cut at white space where there is some, never within LINE / 2."""
    for line in text.split("\n"):
        while len(line) > LINE:
            cut = line.rfind(" ", LINE // 2, LINE)
            cut = cut if cut > 0 else LINE
            yield line[:cut]
            line = line[cut:].lstrip(" ")
        if line.strip():
            yield line


def sample(texts: Iterable[str], max_chars: int, progress: Progress | None = None) -> list[str]:
    """Lines of the texts, max_chars at most in all, in their order.

    Which lines stay depends on their number in the stream alone (a hash of it is their rank), so the
    same stream gives the same sample on every machine.  Raises UserError where there is no text.
    """
    kept: list[tuple[int, int, str]] = []  # a heap whose first is the next to drop
    total = read = 0
    counter = itertools.count()
    for text in texts:
        for line in lines(clean(text)):
            number = next(counter)
            # An odd multiplier after the crc: crc alone keeps neighbours' distances.
            rank = zlib.crc32(number.to_bytes(8, "little")) * 0x9E3779B1 & 0xFFFFFFFF
            if total + len(line) > max_chars and kept and -kept[0][0] <= rank:
                continue
            heapq.heappush(kept, (-rank, number, line))
            total += len(line)
            while total > max_chars and len(kept) > 1:
                total -= len(heapq.heappop(kept)[2])
        before, read = read, read + len(text)
        if progress is not None and before >> 20 != read >> 20:
            progress("sample", read, None, "characters")
    if not kept:
        raise UserError("no text to train a tokenizer on: every training document is empty")
    return [line for _, _, line in sorted(kept, key=lambda entry: entry[1])]


def of_frequent_characters(lines: list[str], most: int, coverage: float) -> list[str]:
    """The lines where `most` different characters make up the coverage; otherwise what lies between the
    characters that are not among the most frequent `most` (the library takes no coverage below 0.98)."""
    counts = Counter(itertools.chain.from_iterable(lines))
    ranked = sorted((c for c in counts if not c.isspace()), key=lambda c: (-counts[c], c))
    shares = np.cumsum([counts[c] for c in ranked])
    if np.searchsorted(shares, coverage * shares[-1]) < most:
        return lines
    rare = str.maketrans(dict.fromkeys(ranked[most:], "\n"))
    return [part for line in lines for part in line.translate(rare).split("\n") if part.strip()]
