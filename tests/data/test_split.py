# SPDX-License-Identifier: Apache-2.0
"""The hash that holds documents out, and the set that finds duplicates, against plain Python."""

import hashlib
import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssl_jax.data.split import KeySet, document_key, keys_of, settle_threshold, threshold
from ssl_jax.types import UserError


@given(st.text())
def test_key_is_the_hash_of_the_normalised_document(text):
    plain = unicodedata.normalize("NFKC", text).casefold()
    plain = "".join(c for c in plain if c not in "\t\n\v\f\r\x1c\x1d\x1e\x1f ")
    # casefold leaves no ASCII capital, so lowering bytes behind it changes nothing.
    assert document_key(text) == hashlib.blake2b(plain.encode(), digest_size=8).digest()


@given(st.text(alphabet="aB é字\n\t"), st.randoms())
def test_copies_share_a_key(text, random):
    copy = unicodedata.normalize(random.choice(["NFC", "NFD", "NFKD"]), text)
    # A mark belongs to the letter before it: no space comes between.
    spaces = [random.choice(["", " ", "\n"]) if not unicodedata.combining(c) else "" for c in copy]
    copy = "".join(space + random.choice([c, c.upper()]) for space, c in zip(spaces, copy))
    assert keys_of([text])[0] == keys_of([copy])[0]


@given(st.lists(st.lists(st.integers(1, 300), max_size=60), max_size=8), st.sampled_from([4, 1024]))
def test_key_set_is_a_set(lists, capacity):
    ours, plain = KeySet(capacity), set()
    for keys in lists:
        expected = []
        for key in keys:
            expected.append(key not in plain)
            plain.add(key)
        assert ours.add(np.array(keys, np.uint64)).tolist() == expected
        assert len(ours) == len(plain)


def held_out(texts, limit):
    return [text for text in texts if int(keys_of([text])[0]) < limit]


def test_a_large_corpus_keeps_the_threshold_of_its_share_and_is_not_read_whole():
    read = []
    texts = (read.append(i) or f"document {i}" for i in range(100_000))
    assert settle_threshold(texts, 0.1) == threshold(0.1)
    assert len(read) < 1000


@given(st.integers(2, 60), st.sampled_from([0.001, 0.02, 0.5, 0.999]))
def test_no_side_of_a_small_corpus_is_empty(count, share):
    texts = [f"document {i}" for i in range(count)]
    held = held_out(texts, settle_threshold(texts, share))
    if count >= 4 and share <= 0.5:
        assert 2 <= len(held) <= count - 2
    assert 1 <= len(held) <= count - 1


@pytest.mark.parametrize(
    ("texts", "what"), [([], "no document"), (["a"], "one document"), (["a", " A "], "copies")]
)
def test_nothing_to_hold_out_is_said(texts, what):
    with pytest.raises(UserError, match=what):
        settle_threshold(texts, 0.02)
