# SPDX-License-Identifier: Apache-2.0
"""Examples as people read them (host).

Text comes from the tokenizer's `decode`, run by run, so that it reads as it was written in any script;
single tokens that are no text of their own (a byte of a character) are shown as pieces.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from ssl_jax.types import Example, Meta

LEGEND = (
    "⟦mask: x⟧ the model sees the mask token, ⟦random y: x⟧ it sees y, ⟦kept: x⟧ it sees x; it must predict x"
)
CJK = "\u2e80-\u30ff\u3400-\u9fff\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff"
SPACE_IN_CJK = re.compile(f"(?<=[{CJK}]) (?=[{CJK}])")


def token_text(meta: Meta, token: int) -> str:
    """One token on its own: its text, or its piece where it has none."""
    text = meta.tokenizer.decode([token]).strip()
    plain = text and "\N{REPLACEMENT CHARACTER}" not in text and token not in meta.tokenizer.specials.ids()
    return text if plain else meta.tokenizer.pieces([token])[0]


def marked_text(meta: Meta, ids: Int[np.ndarray, " n"], marks: Mapping[int, str]) -> str:
    """The text of ids, with marks[i] in place of the token at i; special tokens appear by name."""
    specials = meta.tokenizer.specials.ids()
    ids = [int(i) for i in ids]
    out: list[str] = []
    start = 0
    while start < len(ids):
        if ids[start] in specials:
            out.append(f" {meta.tokenizer.pieces([ids[start]])[0]} ")
            start += 1
            continue
        stop = start + 1
        while start not in marks and stop < len(ids) and stop not in marks and ids[stop] not in specials:
            stop += 1
        begins = start == 0 or ids[start - 1] in specials
        text = _decoded(meta, ids[start:stop]) if begins else _continuation(meta, ids[start - 1 : stop])
        out.append(" " * text[:1].isspace() + marks[start] if start in marks else text)
        start = stop
    return "".join(out).replace("  ", " ").strip()


def _continuation(meta: Meta, ids: list[int]) -> str:
    """The text of ids[1:] as it follows ids[0]: with the space between the two, if there is one."""
    before, whole = _decoded(meta, ids[:1]), _decoded(meta, ids)
    return whole[len(before) :] if whole.startswith(before) else _decoded(meta, ids[1:])


def _decoded(meta: Meta, ids: list[int]) -> str:
    """The text of ids.  Where pieces carry no spaces (WordPiece), the decoder puts one before every word, and
    takes each ideograph for a word: those go."""
    text = meta.tokenizer.decode(ids)
    spaced = any(piece[:1] in ("▁", " ") for piece in meta.tokenizer.pieces(ids))
    return text if spaced else SPACE_IN_CJK.sub("", text)


def unmasked(example: Example) -> Int[np.ndarray, " T"]:
    """The tokens as they were before masking."""
    ids = example["tokens"].copy()
    used = example["weights"] > 0
    ids[example["where"][used]] = example["targets"][used]
    return ids


class Hidden(NamedTuple):
    """One hidden token, for people."""

    how: str  # "mask", "random" or "kept"
    mark: str  # see LEGEND


def hidden_tokens(meta: Meta, example: Example) -> dict[int, Hidden]:
    """Position -> how its token is hidden."""
    out = {}
    used = example["weights"] > 0
    for position, target in zip(example["where"][used].tolist(), example["targets"][used].tolist()):
        seen = int(example["tokens"][position])
        how = "mask" if seen == meta.tokenizer.specials.mask else "kept" if seen == target else "random"
        reads = f"random {token_text(meta, seen)}" if how == "random" else how
        out[position] = Hidden(how, f"⟦{reads}: {token_text(meta, target)}⟧")
    return out


def masked_text(meta: Meta, example: Example, groups: Int[np.ndarray, " T"]) -> dict[int, str]:
    """Text of each group of positions (1, 2, ...; 0 is padding), with the hidden tokens marked."""
    ids, hidden = unmasked(example), hidden_tokens(meta, example)
    out = {}
    for group in np.unique(groups[groups > 0]).tolist():
        positions = np.flatnonzero(groups == group)
        marks = {i: hidden[p].mark for i, p in enumerate(positions.tolist()) if p in hidden}
        out[group] = marked_text(meta, ids[positions], marks)
    return out


def mask_summary(meta: Meta, example: Example) -> str:
    """How many tokens are hidden, and what the model sees in their places."""
    hows = [hidden.how for hidden in hidden_tokens(meta, example).values()]
    real, length = int((example["segments"] > 0).sum()), len(example["segments"])
    return (
        f"{len(hows)} of {real} tokens hidden: {hows.count('mask')} mask, {hows.count('random')} random, "
        f"{hows.count('kept')} kept; {length - real} of {length} positions are padding"
    )
