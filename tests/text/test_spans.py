# SPDX-License-Identifier: Apache-2.0
"""The tokens of a stretch of text: against the offsets that the libraries give, both ends of them."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssl_jax.text.hf import HfTokenizer
from ssl_jax.text.spans import locate

from .conftest import KINDS, MANY_SCRIPTS

LETTERS = "aeT .!?\n\t'1,。明月光苹果」\u0301é…ﬁ\u0e40\u0e01\u094d\u0915\u200b▁👍🏽\u200d㍿ß𐍈"


def their_spans(tokenizer, text: str) -> list[tuple[int, int]]:
    """(first, stop) of each token as the library says; tokens that share a character share all of it."""
    if isinstance(tokenizer, HfTokenizer):
        spans = tokenizer._plain.encode(text, add_special_tokens=False).offsets
    else:
        spans = tokenizer._plain.encode(text, return_type="offset_mapping")["offsets"]
    last = {}
    for first, stop in spans:
        last[first] = max(stop, last.get(first, 0))
    return [(first, last[first]) for first, _ in spans]


def holders(tokenizer, text: str, start: int, stop: int) -> list[int]:
    """By the definition, a character at a time: its tokens, or, where it was dropped, those before it."""
    spans = their_spans(tokenizer, text)
    bare = [bool(tokenizer.piece_flags[i] & 1) for i in tokenizer.encode(text)]
    found: set[int] = set()
    for place in range(start, stop):
        if text[start : place + 1].isspace() or text[place:stop].isspace():
            continue  # white space at the ends of the stretch
        here = {i for i, (a, b) in enumerate(spans) if a <= place < b}
        before = [a for a, _ in spans if a <= place]
        found |= here or {i for i, (a, _) in enumerate(spans) if before and a == before[-1]}
    return sorted(i for i in found if not bare[i])


def check(tokenizer, text: str, start: int, stop: int) -> None:
    located = locate(tokenizer, text)
    assert located.tokens.tolist() == tokenizer.encode(text).tolist()
    assert located.covering(start, stop).tolist() == holders(tokenizer, text, start, stop)


def test_every_stretch_of_many_scripts(tokenizer):
    for text in (*MANY_SCRIPTS, "苹果 is 𐍈 good", "  two  e\u0301te\u0301 ﬁne ㍿ "):
        text = text[:40]
        for start, stop in itertools.combinations(range(0, len(text) + 1, 3), 2):
            check(tokenizer, text, start, stop)


@pytest.mark.parametrize("kind", KINDS)
def test_any_stretch_of_any_text(kind, request):
    tokenizer = request.getfixturevalue(kind)

    @settings(max_examples=40)
    @given(st.text(LETTERS, max_size=16), st.integers(0, 16), st.integers(0, 16))
    def runs(text, start, stop):
        check(tokenizer, text, min(start, stop, len(text)), min(max(start, stop), len(text)))

    runs()


def test_a_piece_of_a_space_and_a_first_byte_holds_the_character(byte_level):
    check(byte_level, " \u200b", 0, 2)


def test_a_character_inside_a_word_has_its_own_pieces(bpe):
    located = locate(bpe, "苹果 bank")
    first, second = located.covering(0, 1), located.covering(1, 2)
    assert not set(first) & set(second) and len(first) == len(second) == 3  # bytes: neither has a piece
    assert np.concatenate([first, second]).tolist() == located.covering(0, 2).tolist()
    assert bpe.decode(located.tokens[first]) == "苹"


def test_nothing_covers_what_no_token_holds(wordpiece, bpe):
    assert len(locate(bpe, "").covering(0, 0)) == 0
    assert len(locate(bpe, " a ").covering(2, 3)) == 0
    assert len(locate(wordpiece, "\x00a").covering(0, 1)) == 0  # BERT's normaliser drops it
