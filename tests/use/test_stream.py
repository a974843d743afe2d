# SPDX-License-Identifier: Apache-2.0
"""Tokens streamed one at a time give the text of them all, never half a character."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssl_jax import text
from ssl_jax.use.stream import PARTIAL, TextStream
from tests.text.conftest import byte_level_json
from tests.use.conftest import LINES


@pytest.fixture(scope="module")
def byte_level(tmp_path_factory):
    folder = tmp_path_factory.mktemp("byte_level")
    config = text.TokenizerJson(path=str(byte_level_json(LINES, folder / "gpt2.json")))
    config.train([], folder / "tokenizer")
    return text.load(folder / "tokenizer")


@pytest.fixture(scope="module", params=["tokenizer", "byte_level"])
def either(request):
    """sentencepiece with single bytes as pieces, and GPT-2's bytes."""
    return request.getfixturevalue(request.param)


@given(st.data())
def test_any_tokens_add_up_to_their_text(either, data):
    drawable = sorted(set(range(either.vocab_size)) - either.undrawable)
    ids = data.draw(st.lists(st.sampled_from(drawable), min_size=1, max_size=30))
    before = either.encode(data.draw(st.sampled_from(LINES))).tolist()
    stream = TextStream(either, before)
    told = "".join(map(stream.push, ids)) + stream.rest()
    assert either.decode(before) + told == either.decode(before + ids)


@pytest.mark.parametrize("line", ["床前明月光龘", "naïve 👩‍👩‍👧 café 👍🏽!"])
def test_no_half_character_is_told(either, line):
    """Characters that no piece holds come byte by byte."""
    stream = TextStream(either, either.encode("The").tolist())
    pieces = [stream.push(token) for token in either.encode(f" {line}").tolist()]
    assert not any(PARTIAL in piece for piece in pieces) and "" in pieces
    assert "".join(pieces).strip() == line and stream.rest() == ""
