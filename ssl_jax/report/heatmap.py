# SPDX-License-Identifier: Apache-2.0
"""How alike one word's vectors are across sentences, as a picture: contextual beside static.

N places where the word stands.
"""

import html
import re
import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

AROUND = 24  # characters shown on either side
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # by XML
_LIGHT, _DARK = np.array([0xF4, 0xF8, 0xFC]), np.array([0x08, 0x3A, 0x73])
_FONT, _GAP, _TOP = 12, 28, 74
_HEAD = 'font-size="16"'


class Place(NamedTuple):
    """One place of a word, in its surroundings; text: the number of the text, from 1, for people."""

    text: int
    before: str
    word: str
    after: str

    def __str__(self) -> str:
        word = self.word if len(self.word) <= 2 * AROUND else self.word[: 2 * AROUND] + "…"
        return f"{self.text}: {self.before}[{word}]{self.after}"


def place(number: int, text: str, start: int, stop: int) -> Place:
    """text[start:stop] with what stands around it; white space becomes spaces."""
    before, after = text[max(0, start - AROUND) : start], text[stop : stop + AROUND]
    before = "…" + before if start > AROUND else before
    after = after + "…" if stop + AROUND < len(text) else after
    return Place(number, *(re.sub(r"\s", " ", part) for part in (before, text[start:stop], after)))


def order(vectors: Float[np.ndarray, "N D"]) -> Int[np.ndarray, " N"]:
    """Neighbours are alike: by the first principal component, in which two senses lie apart."""
    centred = vectors - vectors.mean(axis=0)
    component = np.linalg.svd(centred, full_matrices=False)[0][:, 0]
    if component[0] > 0:  # its sign is arbitrary: the first one comes early
        component = -component
    return np.argsort(component, kind="stable")


def svg(
    places: Sequence[Place],
    contextual: Float[np.ndarray, "N N"],
    static: Float[np.ndarray, "N N"],
    title: str,
) -> str:
    """Two squares of cosines on one scale, from the smallest of all to 1.  Text is text, no scripts."""
    count = len(places)
    cell = max(10, min(40, 480 // count))
    left = _GAP + max(_width(p.before) for p in places)
    labels = left + max(_width(p.word, 1.15) + _width(p.after) for p in places)
    first = labels + _GAP + 24
    second = first + cell * count + _GAP
    width, height = second + cell * count + _GAP, _TOP + cell * count + 70
    low = min(float(contextual.min()), float(static.min()), 0.99)
    rows = []
    for i, p in enumerate(places):
        y = _TOP + cell * i + cell / 2 + 4
        rows.append(_text(left, y, p.before, 'text-anchor="end"'))
        word = f'<tspan font-weight="bold" fill="#b03a2e">{_escaped(p.word)}</tspan>{_escaped(p.after)}'
        rows.append(f'<text x="{left}" y="{y}" xml:space="preserve">{word}</text>')
        rows.append(_text(first - 6, y, str(p.text), 'text-anchor="end" fill="#666"'))
    panels = [
        _panel(first, cell, [p.text for p in places], contextual, low, "contextual"),
        _panel(second, cell, [p.text for p in places], static, low, "static (token table)"),
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'width="{width:.0f}" height="{height:.0f}" font-family="sans-serif" font-size="{_FONT}">'
        f'<rect width="100%" height="100%" fill="white"/>'
        f"{_text(_GAP, 26, title, _HEAD)}{''.join(rows)}{''.join(panels)}"
        f"{_scale(first, height - 44, cell * count, low)}</svg>\n"
    )


def _panel(
    x: float, cell: int, numbers: list[int], cosines: Float[np.ndarray, "N N"], low: float, name: str
) -> str:
    out = [_text(x, _TOP - 26, name, 'font-weight="bold"')]
    small = min(_FONT, cell - 1)
    for j, number in enumerate(numbers):
        middle = f'text-anchor="middle" font-size="{min(small, 10)}" fill="#666"'
        out.append(_text(x + cell * (j + 0.5), _TOP - 6, str(number), middle))
    for i, row in enumerate(cosines):
        for j, value in enumerate(row.tolist()):
            at = f'x="{x + cell * j:.1f}" y="{_TOP + cell * i}"'
            out.append(f'<rect {at} width="{cell}" height="{cell}" fill="{_colour(value, low)}"/>')
            if cell >= 26:
                ink = "white" if (value - low) / (1 - low) > 0.5 else "black"
                style = f'text-anchor="middle" font-size="10" fill="{ink}"'
                out.append(_text(x + cell * (j + 0.5), _TOP + cell * (i + 0.5) + 4, f"{value:.2f}", style))
    return "".join(out)


def _scale(x: float, y: float, width: float, low: float) -> str:
    steps, out = 50, []
    for k in range(steps):
        colour = _colour(low + (1 - low) * k / (steps - 1), low)
        at = f'x="{x + width * k / steps:.2f}" y="{y:.0f}"'
        out.append(f'<rect {at} width="{width / steps + 0.5:.2f}" height="10" fill="{colour}"/>')
    out.append(_text(x, y + 24, f"{low:.2f}"))
    out.append(_text(x + width, y + 24, "1.00", 'text-anchor="end"'))
    return "".join(out) + _text(x + width + _GAP, y + 9, "cosine similarity")


def _colour(value: float, low: float) -> str:
    share = min(1.0, max(0.0, (value - low) / (1 - low)))
    return "#" + "".join(f"{round(c):02x}" for c in (_LIGHT + (_DARK - _LIGHT) * share).tolist())


def _text(x: float, y: float, text: str, style: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" xml:space="preserve" {style}>{_escaped(text)}</text>'


def _escaped(text: str) -> str:
    return html.escape(_FORBIDDEN.sub("\ufffd", text))


def _width(text: str, factor: float = 1.0) -> float:
    """Roughly what a text takes; no font is at hand to ask."""
    wide = sum(unicodedata.east_asian_width(letter) in "WF" for letter in text)
    return factor * _FONT * (0.56 * (len(text) - wide) + wide)
