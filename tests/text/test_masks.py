# SPDX-License-Identifier: Apache-2.0
"""Typed masks: the ids around one are those around a word in its place."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ssl_jax import text as T

from .conftest import POEMS


def mask_text(tokenizer, text: str, word: str, at: int) -> list[int]:
    return tokenizer.encode_with_masks(text[:at] + "[MASK]" + text[at + len(word) :]).tolist()


SENTENCES = [
    "The statement barked.",
    "Is (the statement) there? The statement, in the statement.",
    "statement first and last statement",
    *POEMS,
]


@pytest.mark.parametrize("kind", ["bpe", "unigram", "no_prefix", "wordpiece", "metaspace"])
def test_a_typed_mask_takes_a_words_place(kind, request):
    """Wherever a word of a sentence is one piece, masking it changes that id alone."""
    tokenizer = request.getfixturevalue(kind)
    masked = 0
    for text in SENTENCES:
        ids = tokenizer.encode(text).tolist()
        starts = np.flatnonzero(T.UnicodeWords().starts(text)).tolist()
        for start, stop in zip(starts, [*starts[1:], len(text)]):
            word = text[start:stop].rstrip()
            before = text[:start]
            left = tokenizer.encode(before.rstrip(" ")).tolist() if before else []
            i = len(left)
            piece = tokenizer.pieces(ids[i : i + 1])[0].removeprefix("▁") if i < len(ids) else ""
            if ids[:i] != left or piece not in (word, word.lower()) or i == len(ids):
                continue
            if kind == "wordpiece" and not word.isalnum():
                continue  # letters that touch a mask go on with its word
            expected = [*ids[:i], tokenizer.specials.mask, *ids[i + 1 :]]
            assert mask_text(tokenizer, text, word, start) == expected, (text, word)
            masked += 1
    assert masked > 8


WORDS = st.lists(st.sampled_from(["the", "statement", "of", "(in)", "x.", "1,0", "naïve"]), max_size=6)


@settings(max_examples=80, deadline=None)
@given(WORDS, WORDS, st.sampled_from(["", ".", ",", " "]))
def test_any_text_around_a_mask(bpe, no_prefix, unigram, before, after, glue):
    """The ids around a mask are those around any one-piece word in its place."""
    for tokenizer in (bpe, no_prefix, unigram):
        left, right = " ".join(before), glue + " " * bool(after and glue != " ") + " ".join(after)
        whole = tokenizer.encode(f"{left} the{right}" if left else f"the{right}").tolist()
        i = len(tokenizer.encode(left))
        assume(tokenizer.pieces(whole[i : i + 1]) in (["▁the"], ["the"]))
        masked = tokenizer.encode_with_masks(f"{left} [MASK]{right}" if left else f"[MASK]{right}").tolist()
        assert masked == [*whole[:i], tokenizer.specials.mask, *whole[i + 1 :]]


def test_masks_side_by_side(bpe):
    mask = bpe.specials.mask
    assert bpe.encode_with_masks("[MASK]").tolist() == [mask]
    assert bpe.encode_with_masks(" [MASK] [MASK][MASK] ").tolist() == [mask] * 3
    assert bpe.encode_with_masks("床前[MASK]月").tolist() == [
        *bpe.encode("床前"),
        mask,
        *bpe._glued.encode("月"),
    ]
    assert "▁" not in bpe.pieces(bpe.encode_with_masks("床前[MASK]月[MASK]。"))[2:]


def test_a_word_begins_after_a_wordpiece_mask(wordpiece):
    """Not what follows `##`: a mask may stand for the end of a word too, and every BERT reads it so."""
    mask = wordpiece.specials.mask
    assert wordpiece.encode_with_masks("[MASK]the").tolist() == [mask, *wordpiece.encode("the").tolist()]
    assert wordpiece.encode_with_masks("[MASK].").tolist() == [mask, *wordpiece.encode(".").tolist()]


@pytest.mark.parametrize("space", ["\u3000", "\t", "\xa0", " "])
def test_the_space_before_a_mask_is_what_the_normaliser_makes_a_space(tmp_path, documents, space):
    """Where spaces aren't collapsed, any white space before a mask left a stray piece but U+0020."""
    config = T.SentencePiece(
        vocab_size=800, collapse_spaces=False, sample_chars=50_000, character_coverage=0.99
    )
    config.train(documents, tmp_path / "t")
    tokenizer = T.load(tmp_path / "t")
    ids = tokenizer.encode_with_masks(f"the{space}[MASK]").tolist()
    assert ids == [*tokenizer.encode("the").tolist(), tokenizer.specials.mask]
    two = tokenizer.encode_with_masks(f"the {space}[MASK]").tolist()
    assert two == [*tokenizer.encode("the ").tolist(), tokenizer.specials.mask]


def test_decode_names_specials(bpe):
    s = bpe.specials
    ids = [s.cls, *bpe.encode("The statement"), s.mask, *bpe._spaced.encode("is"), s.sep]
    assert bpe.decode(ids) == "[CLS] The statement[MASK] is[SEP]"
