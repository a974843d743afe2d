# SPDX-License-Identifier: Apache-2.0
"""Text for people: numbers, times, colours, and how wide a text is."""

import contextlib
import os
import sys
import unicodedata
from typing import Any, TextIO

RED, YELLOW, BOLD = "31", "33", "1"


def complain(text: str) -> None:
    """The one line of an error, on stderr, red on a terminal."""
    first, newline, rest = text.partition("\n")
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(styled(f"ssl-jax: {first}", RED, sys.stderr) + newline + rest + "\n")
        sys.stderr.flush()


def is_terminal(stream: TextIO) -> bool:
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def styled(text: str, code: str, stream: TextIO) -> str:
    if not is_terminal(stream) or os.environ.get("NO_COLOR"):
        return text
    return f"\x1b[{code}m{text}\x1b[0m"


def cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.2e}" if value != 0 and abs(value) < 1e-3 else f"{value:,.4f}"


def width(text: str) -> int:
    """Columns that a text takes on a terminal: Chinese takes two a letter, a combining mark none."""
    wide = sum(unicodedata.east_asian_width(letter) in "WF" for letter in text)
    return len(text) + wide - sum(unicodedata.combining(letter) != 0 for letter in text)


def human(number: float) -> str:
    """1234567 as 1.23M."""
    for scale, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= scale:
            return (
                f"{number / scale:.3g}{suffix}"
                if number < 999.5 * scale
                else f"{number / scale:,.0f}{suffix}"
            )
    return f"{number:.3g}"


def duration(seconds: float) -> str:
    """3725 as 1h02m."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 48 * 3600:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02d}h"
