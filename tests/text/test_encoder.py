# SPDX-License-Identifier: Apache-2.0
"""Encoder: equal, token by token, to what one gets from offsets, a character at a time."""

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssl_jax import text as T

from .conftest import MANY_SCRIPTS, POEMS

AWKWARD = [
    "",
    "   \n\t ",
    "\x00",
    "nul\x00inside and \x07bell",
    "\ufeffA mark first. Then more.",
    "e\u0301te\u0301, combined. A\u030angstro\u0308m",
    "ﬁne ﬂow… ½ ㍿ Ａｓ　ｗｉｄｅ",
    "\u0301starts with a mark \u0301 and one after a space",
    "lone \ud800 surrogate \udfff here",
    "a\u200bb\u200cc\u200dd\u00ade",
    "각각 한국어 문장입니다. 또 하나.",
    "x" * 3000 + " " + "long. " * 40,
    "\u10ffff noncharacter \U0010ffff[MASK] ▁ typed",
    "[MASK] [SEP] [CLS] [PAD] [UNK] <|endoftext|> <mask> <s> </s>",
]


def slow_word_starts(tokenizer, words, text: str) -> tuple[list[int], list[bool], list[int]]:
    """(ids, word starts, first visible characters) from the library's offsets, one token at a time."""
    ids = tokenizer.encode(text)
    (begins,) = tokenizer.encode_offsets([text], [False])
    starts = words.starts(text)
    visible = [tokenizer.normal_length(T.encoder.codes(c))[0] > 0 for c in text]
    result, places = [], []
    for token, begin in zip(ids.tolist(), begins.tolist()):
        while begin < len(text) and not visible[begin]:
            begin += 1
        before = places[-1] if places else -1
        inside = tokenizer.piece_flags[token] & T.pieces.INSIDE
        result.append(begin < len(text) and bool(starts[begin]) and begin != before and not inside)
        places.append(begin)
    return ids.tolist(), result, places


@pytest.mark.parametrize("words", [T.UnicodeWords(), T.RegexWords(pattern=r"[^\W\d_]+|\d")])
def test_word_starts_are_those_of_the_offsets(tokenizer, words, documents):
    encoder = T.Encoder(tokenizer, T.Text(words=words))
    texts = [*AWKWARD, *MANY_SCRIPTS, *(document[:1500] for document in documents[:6])]
    for text, document in zip(texts, encoder.encode_documents(texts)):
        ids, starts, _ = slow_word_starts(tokenizer, words, T.encoder.clean(text))
        assert document.tokens.tolist() == ids
        assert document.word_starts.tolist() == starts
        assert document.characters == len(text)


ALPHABET = "aeT .!?\n\t'\"-1,。明月光」ᄀ\u0301\u0300é…ﬁ\u0e40\u0e01\u094d\u0915\x00\u200b▁👍🏽\u200d㍿ß"


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(ALPHABET, max_size=40), max_size=6))
def test_any_texts(bpe, wordpiece, texts):
    for tokenizer in (bpe, wordpiece):
        encoder = T.Encoder(tokenizer, T.Text(max_sentence_chars=12))
        for text, document in zip(texts, encoder.encode_documents(texts)):
            ids, starts, _ = slow_word_starts(tokenizer, T.UnicodeWords(), text)
            assert document.tokens.tolist() == ids == tokenizer.encode(text).tolist()
            assert document.word_starts.tolist() == starts
            sentences = document.sentence_starts
            assert (sentences.size > 0) == (len(ids) > 0)
            if sentences.size:
                assert sentences[0] == 0 and sentences[-1] < len(ids) and (np.diff(sentences) > 0).all()


def test_sentences_encoded_alone_are_the_documents_tokens(bpe, documents):
    text = T.Text(max_sentence_chars=100_000)
    encoded = T.Encoder(bpe, text).encode_documents(documents)
    for document, result in zip(documents[:60], encoded):
        alone = [bpe.encode(document[a:b]) for a, b in text.sentences.split(document)]
        assert np.array_equal(np.concatenate(alone), result.tokens)
        lengths = [len(a) for a in alone]
        assert result.sentence_starts.tolist() == [0, *np.cumsum(lengths)[:-1].tolist()]


def test_a_document_does_not_depend_on_its_batch(tokenizer, documents, monkeypatch):
    encoder = T.Encoder(tokenizer, T.Text())
    texts = [*documents[:8], *AWKWARD, *POEMS]
    together = encoder.encode_documents(texts, num_threads=2)
    monkeypatch.setattr(T.encoder, "_BATCH", 500)
    for text, one, other in zip(texts, together, encoder.encode_documents(texts)):
        for a, b, c in zip(one, other, encoder.encode_documents([text])[0]):
            assert np.array_equal(a, b) and np.array_equal(a, c)


@pytest.mark.parametrize("kind", ["bpe", "no_prefix", "wordpiece", "byte_level"])
def test_a_long_document_is_cut_without_a_trace(kind, request, documents, monkeypatch):
    tokenizer = request.getfixturevalue(kind)
    long = "\n\n".join(documents[:5])
    encoder = T.Encoder(tokenizer, T.Text())
    (whole,) = encoder.encode_documents([long])
    monkeypatch.setattr(T.encoder, "_CHUNK", 300)
    monkeypatch.setattr(T.encoder, "_SECTION", 5000)
    (cut,) = encoder.encode_documents([long])
    assert tokenizer.decode(cut.tokens) == tokenizer.decode(whole.tokens)
    assert np.array_equal(cut.tokens, whole.tokens)
    assert np.array_equal(cut.word_starts, whole.word_starts)
    assert np.array_equal(cut.sentence_starts, whole.sentence_starts)


def test_a_megabyte_in_one_line(bpe):
    encoder = T.Encoder(bpe, T.Text(max_sentence_chars=200))
    words, nothing = encoder.encode_documents(["some words " * 100_000, "x" * 1_100_000])
    assert words.characters == 1_100_000
    lengths = np.diff([*words.sentence_starts, len(words.tokens)])
    assert lengths.max() <= 200 and words.word_starts[words.sentence_starts].all()
    assert len(nothing.sentence_starts) == 1_100_000 // 200 + 1  # one where the section ends


def test_long_sentences_are_cut_at_words(bpe):
    (document,) = T.Encoder(bpe, T.Text(max_sentence_chars=20)).encode_documents(["abcd efgh ijkl " * 10])
    bounds = [*document.sentence_starts.tolist(), len(document.tokens)]
    pieces = [bpe.decode(document.tokens[a:b]) for a, b in itertools.pairwise(bounds)]
    assert all(len(piece) <= 20 and len(piece) % 5 == 4 for piece in pieces)


def test_counts(bpe, unigram):
    rare = "plain 𐍈𐍉 text"
    (in_bytes,) = T.Encoder(bpe, T.Text()).encode_documents([rare])
    assert in_bytes.byte_fallback >= 8 and in_bytes.unknown == 0
    (unknown,) = T.Encoder(unigram, T.Text()).encode_documents([rare])
    assert unknown.unknown == 1 and unknown.byte_fallback == 0


def test_round_trip_is_sampled_by_the_text(bpe, unigram):
    texts = [f"number {i} and 𐍈" for i in range(2000)]
    encoded = T.Encoder(bpe, T.Text()).encode_documents(texts)
    sampled = [i for i, d in enumerate(encoded) if d.sampled_characters]
    assert 5 < len(sampled) < 80
    assert sum(d.sampled_lost for d in encoded) == 0
    lossy = T.Encoder(unigram, T.Text()).encode_documents(texts)
    assert [i for i, d in enumerate(lossy) if d.sampled_characters] == sampled
    assert all(lossy[i].sampled_lost >= 1 for i in sampled)


def test_sentence_counts_of_poems(bpe):
    encoded = T.Encoder(bpe, T.Text()).encode_documents(POEMS)
    assert [len(d.sentence_starts) for d in encoded] == [2, 2, 2, 2]


def test_text_is_a_recipe_section():
    text = T.Text()
    assert dataclasses.replace(text, max_sentence_chars=5).max_sentence_chars == 5
    with pytest.raises(T.config.UserError, match="max_sentence_chars=0"):
        T.Text(max_sentence_chars=0)
