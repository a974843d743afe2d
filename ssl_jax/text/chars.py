# SPDX-License-Identifier: Apache-2.0
"""Code points of a text and tables over them: what everything per character is computed from."""

from collections.abc import Callable

import numpy as np

_UNKNOWN = 255


def codes(text: str) -> np.ndarray:
    """The text's code points, [len(text)] uint32.  The text holds no lone surrogate (see `clean`)."""
    return np.frombuffer(text.encode("utf-32-le"), np.uint32)


def clean(text: str) -> str:
    """The text with lone surrogates (JSON may hold them) replaced by U+FFFD, one for one."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return "".join("\ufffd" if "\ud800" <= c <= "\udfff" else c for c in text)
    return text


class CharTable:
    """Code point -> small integer (0..254), filled as code points are met.

    value: a pure function of one character.  Filling on demand keeps the start fast: a text uses a few
    thousand of the 1.1 million code points.
    """

    def __init__(self, value: Callable[[str], int]):
        self._value = value
        self._table = np.full(0x110000, _UNKNOWN, np.uint8)

    def __call__(self, codes: np.ndarray) -> np.ndarray:
        """[n] uint32 -> [n] uint8."""
        found = self._table.take(codes, mode="clip")
        if codes.size and found.max() == _UNKNOWN:
            for code in np.unique(codes[found == _UNKNOWN]):
                self._table[code] = min(self._value(chr(code)), _UNKNOWN - 1)
            found = self._table.take(codes, mode="clip")
        return found
