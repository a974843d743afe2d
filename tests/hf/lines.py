# SPDX-License-Identifier: Apache-2.0
"""Seeded lines of mixed scripts, emoji, control characters, white space and typed special tokens."""

import random
from collections.abc import Iterator

RANGES = (
    *((0x20, 0x7E), (0xA0, 0x24F), (0x300, 0x36F), (0x370, 0x4FF), (0x590, 0x6FF), (0x900, 0xDFF)),
    *((0xE00, 0xFFF), (0x1000, 0x109F), (0x1100, 0x11FF), (0x1780, 0x17FF), (0x1E00, 0x1FFF)),
    *((0x2000, 0x206F), (0x2100, 0x214F), (0x2580, 0x2583), (0x3040, 0x30FF), (0x3130, 0x318F)),
    *((0x4E00, 0x4FFF), (0xAC00, 0xACFF), (0xF900, 0xFAFF), (0xFB00, 0xFEFF), (0xFF00, 0xFFEF)),
    *((0x1F1E6, 0x1F1FF), (0x1F300, 0x1F6FF), (0x1D400, 0x1D4FF), (0, 0x1F), (0x7F, 0x9F), (0xE000, 0xE010)),
)
SPECIALS = (
    "[MASK]",
    "[SEP]",
    "[CLS]",
    "[PAD]",
    "[UNK]",
    "<|endoftext|>",
    "<mask>",
    "</s>",
    "<0x41>",
    "<0xE2>",
)
STRINGS = (
    *(" ", "  ", "\t", "\n", "\r\n", "\u3000", "\xa0", "\u200b", "\ufeff", "\u2028", "\x85", "\x0b", "\x1c"),
    *("▁", "▁▁", "##s", "Ġ", "👩‍👩‍👧", "🇫🇷🇩🇪", "👍🏽", "☺\ufe0f", "e\u0301", "a\u0302\u0323", "ﬁ", "´", "ｶﾞ"),
    *("ハ\u309a", "\u1112\u1161\u11ab", "ｱﾅﾀ", "शब्द", "שָׁלוֹם", "ﷺ", "===", "......", "aaaaa", "-----------"),
)


def mixed_lines(words: list[str], count: int, seed: int = 0) -> Iterator[str]:
    rng = random.Random(seed)
    for _ in range(count):
        parts = []
        for _ in range(rng.randint(1, 10)):
            kind = rng.random()
            if kind < 0.35:
                parts += [rng.choice(words), rng.choice((" ", " ", "", "  ", "\n"))]
            elif kind < 0.6:
                parts += [rng.choice(STRINGS + SPECIALS), rng.choice(("", " "))]
            else:
                low, high = rng.choice(RANGES)
                parts += [chr(rng.randint(low, high)) for _ in range(rng.randint(1, 6))]
                parts.append(rng.choice(("", " ")))
        yield "".join(parts)


def masked_lines(words: list[str], count: int, mask: str, seed: int = 0) -> Iterator[str]:
    """Lines with one to three masks anywhere, touching what is beside them or not, and no other special."""
    rng = random.Random(seed)
    for line in mixed_lines(words, count, seed):
        for name in SPECIALS[:-2]:
            line = line.replace(name, "")
        for _ in range(rng.randint(1, 3)):
            at = rng.choice((0, len(line), rng.randint(0, len(line)), rng.randint(0, len(line))))
            line = line[:at] + rng.choice(("", " ", "  ")) + mask + rng.choice(("", " ")) + line[at:]
        yield line
