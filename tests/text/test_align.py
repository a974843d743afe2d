# SPDX-License-Identifier: Apache-2.0
"""The first token of each given word, in scripts of every kind, against each word tokenized on its own."""

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
from tokenizers import Tokenizer as Library

from ssl_jax.data import Table, sentence, typed_sentence
from ssl_jax.data.plan_tags import aligned
from ssl_jax.text import Text, UnicodeWords
from ssl_jax.text.align import first_tokens, joined, word_spans
from ssl_jax.text.chars import CharTable
from tests.text.conftest import KINDS

# Letters, signs that normalisers change, marks that combine, and characters that some of them drop.
FRAGMENTS = [
    *("a", "The", "naïve", "e\u0301", "ß", "ﬁ", "½", "don't", "3.14", "…", "[MASK]", "##ing", "_", "▁"),
    *("苹", "果", "明月", "ग", "ज्ञान", "ि", "كِتَابٌ", "ไทย", "བོད་", "한", "カ\u3099"),
    *("👍🏽", "👩\u200d👧", "🇫🇷", "\u0301", "\ufe0f"),
    *("\u200b", "\u200c", "\u200d", "\ufeff", "\u00ad", "\x01", "\u2060"),
]
WORDS = st.lists(
    st.lists(st.sampled_from(FRAGMENTS), min_size=1, max_size=3).map("".join), min_size=1, max_size=9
)


def each_on_its_own(tokenizer, words):
    """(ids, first token or -1 of each): the first word as a text, each other as what follows one."""
    rest, counts = tokenizer.encode_flat([" " + word for word in words[1:]], [True] * (len(words) - 1), 1)
    ids = np.concatenate([tokenizer.encode(words[0]), rest])
    counts = np.append(len(ids) - len(rest), counts)
    return ids, np.where(counts > 0, np.cumsum(counts) - counts, -1)


@pytest.mark.parametrize("kind", KINDS)
@hypothesis.given(words=WORDS)
@hypothesis.settings(suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
def test_words_of_every_script(request, kind, words):
    tokenizer = request.getfixturevalue(kind)
    hypothesis.assume(len(tokenizer.encode(words[0])))  # a text that begins with nothing begins with the next
    ids, expected = each_on_its_own(tokenizer, words)
    table = Table([sentence(words)], tokenizer, Text())
    np.testing.assert_array_equal(table.encoded(0)[0].tokens, ids)
    np.testing.assert_array_equal(ids, tokenizer.encode(" ".join(words)))
    (found,) = aligned(table)
    np.testing.assert_array_equal(found.first, expected)
    assert not found.inside.any()


@pytest.mark.parametrize("kind", ["wordpiece", "metaspace"])
@hypothesis.given(words=WORDS)
@hypothesis.settings(suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
def test_ids_and_words_are_those_of_the_librarys_own_split_into_words(request, kind, words):
    """What `is_split_into_words` of transformers does."""
    tokenizer = request.getfixturevalue(kind)
    library = Library.from_str(tokenizer.tokenizer_json.decode())
    library.encode_special_tokens = True
    # Of a special token's name it makes one, where our texts never hold any; a typed space mark is its own.
    hypothesis.assume(not any("[MASK]" in word or word.startswith("▁") for word in words))
    theirs = library.encode(words, is_pretokenized=True, add_special_tokens=False)
    hypothesis.assume(len(theirs.ids))
    table = Table([sentence(words)], tokenizer, Text())
    assert table.encoded(0)[0].tokens.tolist() == theirs.ids
    expected = [theirs.word_ids.index(w) if w in theirs.word_ids else -1 for w in range(len(words))]
    assert aligned(table)[0].first.tolist() == expected


def test_words_that_yield_no_token(wordpiece):
    records = [sentence(["\u200b", "a", "\x01", "\u200d\u200d", "b", "\ufeff"]), sentence(["\u00ad", "b"])]
    assert [list(f.first) for f in aligned(Table(records, wordpiece, Text()))] == [
        [-1, 0, -1, -1, 1, -1],
        [-1, 0],
    ]


class Pieces:
    """A tokenizer whose tokens are whatever offsets say, and whose invisible characters are dots."""

    normal_length = CharTable(lambda c: c not in " .")
    encode = staticmethod(lambda text: np.zeros(0, np.int32))


@pytest.mark.parametrize(
    ("words", "separator", "offsets", "first", "inside"),
    [
        (["中国", "人民"], "", [0, 1, 3], [0, 2], [False, True]),  # 中|国人|民
        (["中", "国", "人", "民"], "", [0, 1, 3], [0, 1, -1, 2], [False, False, False, False]),
        (["中国人", "民"], "", [0], [0, -1], [False, False]),
        (["ab", "c"], " ", [0, 1, 1, 2, 3], [0, 3], [False, False]),  # a|b, in three bytes|a bare space|c
        (
            ["a.", "..", "b"],
            " ",
            [0, 1],
            [0, -1, 1],
            [False] * 3,
        ),  # the second begins where a's tail is dropped
        (["a", ".."], " ", [0, 1], [0, -1], [False] * 2),
        (["a"], " ", [], [-1], [False]),
    ],
)
def test_shared_and_missing_tokens(words, separator, offsets, first, inside):
    text, spans = joined(words, separator)
    assert text == separator.join(words) and [text[a:b] for a, b in spans] == words
    other = ("zz", np.array([0]), np.array([[0, 2]]))  # what stands beside a text in a batch changes nothing
    texts, places, spans = zip(other, (text, np.array(offsets, np.int64), spans), other)
    found = first_tokens(Pieces, texts, places, spans)
    assert [f.first.tolist() for f in found] == [[0], first, [0]]
    assert [f.inside.tolist() for f in found] == [[False], inside, [False]]


def test_a_script_without_spaces_is_joined_by_nothing(bpe):
    words = ["明月", "光", "，", "疑是"]
    table = Table([sentence(words, separator="")], bpe, Text())
    assert table.encoded(0)[0].tokens.tolist() == bpe.encode("明月光，疑是").tolist()
    (found,) = aligned(table, "")
    begins = np.array([0, 2, 3, 4])
    assert table.offsets(0, 0)[found.first].tolist() == begins.tolist()


def test_words_of_a_typed_text():
    text = " It's  café 苹果, no?\ud800 "
    words = ["It's", "café", "苹", "果", ",", "no", "?", "\ufffd"]
    assert typed_sentence(text, UnicodeWords()) == sentence(words)
    assert typed_sentence("苹果。", UnicodeWords(), "") == sentence(["苹", "果", "。"], separator="")
    assert [text[a:b] for a, b in word_spans(text, UnicodeWords())] == [*words[:-1], "\ud800"]
    assert word_spans(" \n", UnicodeWords()).shape == word_spans("", UnicodeWords()).shape == (0, 2)
