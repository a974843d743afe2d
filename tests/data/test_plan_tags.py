# SPDX-License-Identifier: Apache-2.0
"""Sentences cut into rows: each word once, in its place, whatever the lengths."""

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from ssl_jax.data import Table, Tagged, sentence, typed_sentence
from ssl_jax.data.plan_tags import cuts, place_of
from ssl_jax.text import Encoder, Text, UnicodeWords
from ssl_jax.types import UserError
from tests.tasks import letters


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return letters.tokenizer(tmp_path_factory.mktemp("letters"))


@hypothesis.given(counts=st.lists(st.integers(0, 9), min_size=1, max_size=30), room=st.integers(1, 12))
def test_each_word_is_in_one_row_and_its_first_token_with_it(counts, room):
    """counts: the tokens of each word."""
    hypothesis.assume(sum(counts))
    ends = np.cumsum(counts)
    firsts = np.where(np.array(counts) > 0, ends - counts, -1)
    found = cuts(firsts, int(ends[-1]), room)
    assert [w for cut in found for w in range(cut.first, cut.stop)] == list(range(len(counts)))
    for cut, after in zip(found, [*found[1:], None]):
        assert 0 < cut.end - cut.begin <= room
        own = [w for w in range(cut.first, cut.stop) if counts[w]]
        assert own and firsts[own[0]] == cut.begin and all(cut.begin <= firsts[w] < cut.end for w in own)
        # Nothing is cut off but the end of a word that is longer than a row, and the next would not have fit.
        assert cut.end == ends[own[-1]] or (len(own) == 1 and counts[own[0]] > room)
        if after is not None:
            following = next(w for w in range(after.first, after.stop) if counts[w])
            assert cut.end - cut.begin + counts[following] > room or counts[own[-1]] > room


WORDS = st.lists(st.text("abcdefghi", min_size=1, max_size=12), min_size=1, max_size=12)


@hypothesis.given(sentences=st.lists(WORDS, min_size=1, max_size=5))
@hypothesis.settings(suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
def test_rows_hold_the_words_their_tags_and_their_tokens(tokenizer, sentences):
    tags = [[f"{i}.{w}" for w in range(len(words))] for i, words in enumerate(sentences)]
    records = [sentence(words, tagged) for words, tagged in zip(sentences, tags)]
    plan = Tagged(length=10).open(Table(records, tokenizer, Text()), 0, shuffle=False)
    rows = [plan[r] for r in range(plan.num_rows)]
    assert plan.num_tokens == sum(len(row.parts[0].tokens) + 2 for row in rows)
    words_of = {i: [] for i in range(len(sentences))}
    for row in rows:
        (part,), fields = row.parts, row.fields
        assert 1 <= len(part.tokens) <= 8 and len(row.label) == len(fields["words"]) == len(fields["first"])
        for word, at, (begin, end), tag in zip(fields["words"], fields["first"], fields["spans"], row.label):
            pieces = tokenizer.pieces(part.tokens[at : at + len(word)])  # a letter is a token
            shown = "".join(piece.removeprefix("##") for piece in pieces)
            assert shown == word[: len(part.tokens) - at] and not pieces[0].startswith("##")
            assert records[fields["sentence"]].texts[0][begin:end] == word
            words_of[fields["sentence"]].append((word, tag))
    assert list(words_of.values()) == [list(zip(*pair)) for pair in zip(sentences, tags)]


def test_an_epoch_is_a_permutation_and_another_plan_has_another_fingerprint(tokenizer):
    table = Table([sentence(["ab"] * n) for n in range(1, 9)], tokenizer, Text())
    plan = Tagged(length=8).open(table, 0)
    key = lambda row: (row.fields["sentence"], row.fields["spans"])
    epochs = [[key(plan[r]) for r in range(e * plan.num_rows, (e + 1) * plan.num_rows)] for e in range(2)]
    assert sorted(epochs[0]) == sorted(epochs[1]) and epochs[0] != epochs[1]
    assert len(set(epochs[0])) == plan.num_rows == 1 + 1 + 1 + 2 + 2 + 2 + 3 + 3
    assert plan.fingerprint != Tagged(length=9).open(table, 0).fingerprint


def test_what_is_lost_is_counted(tokenizer):
    records = [sentence(["abc", "\u200b", "d", "\x01"]), sentence(["abcdefghia"])]
    report = Tagged(length=8).open(Table(records, tokenizer, Text()), 0).report()
    assert report.startswith("2 sentences in 2 rows of 8 tokens")
    assert "; 2 of 5 words have no token of their own" in report
    assert report.endswith("; 4 tokens of words longer than a row are cut off")
    whole = Tagged(length=16).open(Table(records[1:], tokenizer, Text()), 0).report()
    assert "word" not in whole


def test_a_sentence_without_a_token_is_named_with_file_and_row(tokenizer):
    records = [sentence(["a"]), sentence(["\u200b", "\x01"], file="eng.train", lines=(7, 8))]
    with pytest.raises(UserError, match=r"^eng\.train: row 7: no token has a place in the sentence"):
        Tagged().open(Table(records, tokenizer, Text()), 0)
    assert place_of(sentence(["a"]).fields) == ""
    with pytest.raises(UserError, match="there is no example"):
        Tagged().open(Table([], tokenizer, Text()), 0)
    with pytest.raises(UserError, match="too short"):
        Tagged(length=7).open(Table(records[:1], tokenizer, Text()), 0)


def test_words_joined_otherwise_than_the_plan_says_are_refused(tokenizer):
    records = [sentence(["a"], separator=""), sentence(["a", "b"], separator="", file="x", lines=(3, 4))]
    with pytest.raises(
        UserError, match=r"^x: row 3: words are joined by '' \(task\.separator\), and objective"
    ):
        Tagged().open(Table(records, tokenizer, Text()), 0)
    assert Tagged(separator="").open(Table(records, tokenizer, Text()), 0).num_rows == 2


def test_a_typed_text_has_the_rows_of_its_words(tokenizer):
    table = Table([typed_sentence("abc, de fghiabc!", UnicodeWords())], tokenizer, Text())
    plan = Tagged(length=8).open(table, 0, shuffle=False)
    rows = [plan[r] for r in range(plan.num_rows)]
    assert [row.fields["words"] for row in rows] == [("abc", ",", "de"), ("fghiabc",), ("!",)]
    assert all(row.label is None for row in rows)
    (document,) = Encoder(tokenizer, Text()).encode_documents(["abc de fghi"])
    assert len(Tagged(length=8).typed(document).parts[0].tokens) == 6
