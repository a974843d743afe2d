# SPDX-License-Identifier: Apache-2.0
"""An exported tokenizer against the trained one, on lines made of its own pieces and of what goes wrong."""

import json
import random
from dataclasses import dataclass
from typing import Any

LINES = 1000
_MOST_PIECES = 12
# White space of all kinds, controls, composition in each direction, joiners, flags, what looks like a piece.
AWKWARD = (
    *(" ", "  ", "\t", "\n", "\r\n", "\x0b", "\x1c", "\x85", "\xa0", "\u2028", "\u3000", "\u200b", "\ufeff"),
    *("\x00", "\x07", "\x7f", "\u200e", "\u2060", "\ufffd", "▁", "▁▁", "##", "<0x41>", "<0xE2>", "Ġ"),
    *("e\u0301", "\u0301", "a\u0302\u0323", "ﬁ", "´", "Ⅷ", "½", "ﾊﾟ", "ハ\u309a", "한", "\u1112\u1161\u11ab"),
    *(
        "क्\u200dष",
        "ง่",
        "לָ",
        "ﷺ",
        "لا",
        "👩‍👩‍👧",
        "🇫🇷🇩🇪",
        "👍🏽",
        "☺\ufe0f",
        "ß",
        "İ",
        "ǅ",
        "𝔘",
        "…",
        "......",
        "=====",
    ),
)


@dataclass(frozen=True)
class Check:
    """How many lines of how many are encoded, decoded, or read with masks in them, in another way."""

    lines: int
    encoded: int
    decoded: int
    masked: int
    example: str

    @property
    def share(self) -> float:
        return max(self.encoded, self.decoded, self.masked) / self.lines

    def __str__(self) -> str:
        if not self.share:
            return f"encodes and decodes {self.lines:,} lines as training did"
        return (
            f"of {self.lines:,} lines {self.encoded} are encoded otherwise than in training, "
            f"{self.decoded} decoded, {self.masked} with masks in them: {self.share:.2%}"
        )


def check(tokenizer: Any, config: dict[str, Any]) -> Check:
    """Compares a tokenizer with the library's reading of a tokenizer.json.

    Encoded: special tokens typed in a line are text in both (`split_special_tokens=True`), none is added.
    Decoded: the ids of the line, without special tokens (`skip_special_tokens=True`).  With masks: the line
    with masks put into it, as the fill-mask pipeline reads it.
    """
    from tokenizers import Tokenizer

    library = Tokenizer.from_str(json.dumps(config))
    specials = tokenizer.specials
    named = tuple(name_of(tokenizer, i) for i in sorted(specials.ids()))
    lines = make_lines(tokenizer, named, LINES)
    library.encode_special_tokens = True
    ours = [ids.tolist() for ids in tokenizer.encode_batch(lines)]
    theirs = [found.ids for found in library.encode_batch(lines, add_special_tokens=False)]
    encoded = [line for line, a, b in zip(lines, ours, theirs) if a != b]
    plain = [[i for i in ids if i not in specials.ids()] for ids in ours]
    decoded = [
        line
        for line, ids in zip(lines, plain)
        if tokenizer.decode(ids) != library.decode(ids, skip_special_tokens=True)
    ]
    masked = []
    if specials.mask is not None:
        library.encode_special_tokens = False
        mask = name_of(tokenizer, specials.mask)
        texts = [put_masks(line, mask, named, seed) for seed, line in enumerate(lines)]
        found = library.encode_batch(texts, add_special_tokens=False)
        masked = [t for t, e in zip(texts, found) if tokenizer.encode_with_masks(t).tolist() != e.ids]
    return Check(
        len(lines), len(encoded), len(decoded), len(masked), "".join([*encoded, *decoded, *masked][:1])
    )


def name_of(tokenizer: Any, token: int) -> str:
    return tokenizer.pieces([token])[0]


def make_lines(tokenizer: Any, named: tuple[str, ...], count: int, seed: int = 0) -> list[str]:
    """Lines of pieces drawn from the vocabulary, of awkward strings and of typed special tokens."""
    rng = random.Random(seed)
    lines = []
    for _ in range(count):
        parts = []
        for _ in range(rng.randint(1, _MOST_PIECES)):
            kind = rng.random()
            if kind < 0.6:
                ids = [rng.randrange(tokenizer.vocab_size)]
                parts.append(tokenizer.decode(ids))
            else:
                parts.append(rng.choice(AWKWARD if kind < 0.9 else named))
            parts.append(rng.choice(("", "", " ")))
        lines.append("".join(parts))
    return lines


def put_masks(line: str, mask: str, named: tuple[str, ...], seed: int) -> str:
    """The line with one to three masks in it, with and without spaces, and no other special token."""
    rng = random.Random(seed)
    for name in named:
        line = line.replace(name, "")
    for _ in range(rng.randint(1, 3)):
        at = rng.choice((0, len(line), rng.randint(0, len(line)), rng.randint(0, len(line))))
        line = line[:at] + rng.choice(("", " ")) + mask + rng.choice(("", " ")) + line[at:]
    return line
