# SPDX-License-Identifier: Apache-2.0
"""Vectors in context: against plain numpy over the trunk's own hidden states, a text at a time."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssl_jax.text import RegexSentences, Text
from ssl_jax.text.spans import locate
from ssl_jax.types import UserError
from ssl_jax.use import embed as E
from ssl_jax.use import inputs
from ssl_jax.use.embed import By, Layers, Pool, Vectors, cosines, embed
from ssl_jax.use.reader import windows
from tests.use.models import BFLOAT16, DECODER, ENCODER, POSITIONS, model, tokenizer

TEXTS = [
    "The bank of the river.",
    "A bank lent money, said the bank.",
    "苹果 is red. 苹 is half of it!",
    "e\u0301 👍🏽 𐍈 ﬁne",
    "No word of it here.",
]


@functools.cache
def hidden(config, ids: tuple[int, ...]) -> np.ndarray:
    """[levels, n, D] of one row without padding, with the special tokens that training puts around it."""
    specials = tokenizer().specials
    row = [specials.bos, *ids] if config is DECODER else [specials.cls, *ids, specials.sep]
    tokens = jnp.array([row], jnp.int32)
    trunk, segments = model(config).trunk, jnp.ones_like(tokens)
    states = jax.jit(lambda t, s: trunk(trunk.embed(t, s), s, every=True))(tokens, segments)
    return np.asarray(states)[:, 0, 1 : 1 + len(ids)]


def close(a: np.ndarray, b: np.ndarray) -> None:
    assert a.shape == b.shape
    assert np.abs(a - b).max() <= 1e-5 * max(1.0, np.abs(b).max())


def test_one_word_has_two_vectors_in_context_and_one_in_the_table():
    for config in (ENCODER, DECODER):
        found = embed(model(config), tokenizer(), TEXTS, word="bank")
        assert found.words == ["bank"] * 3 and found.texts.tolist() == [0, 1, 1]
        assert [TEXTS[t][a:b] for t, a, b in zip(found.texts, found.starts, found.stops)] == found.words
        assert (found.static == found.static[0]).all()
        alike = cosines(found.vectors)
        assert (alike[np.triu_indices(3, 1)] < 0.999).all() and np.allclose(np.diag(alike), 1)
        pieces = tokenizer().encode("bank")  # with the mark of a word's beginning, as after a space
        close(found.static[0], np.asarray(model(config).trunk.table)[pieces].mean(axis=0))


@pytest.mark.parametrize("config", [ENCODER, DECODER], ids=["encoder", "decoder"])
def test_a_vector_is_the_pooled_hidden_states(config):
    texts = [TEXTS[0], TEXTS[2], TEXTS[3]]
    table = np.asarray(model(config).trunk.table)
    for pool, layers, pick in (
        (Pool.MEAN, Layers(), lambda h: h[2]),
        (Pool.FIRST, Layers((0, 1)), lambda h: np.concatenate([h[0], h[1]], axis=-1)),
        (Pool.LAST, Layers((-2, -1), mean=True), lambda h: (h[1] + h[2]) / 2),
    ):
        found = embed(model(config), tokenizer(), texts, by=By.WORD, layers=layers, pool=pool)
        assert {"bank", "苹", "e\u0301", "𐍈"} <= set(found.words)
        for number, text in enumerate(texts):
            located = locate(tokenizer(), text)
            states = pick(hidden(config, tuple(located.tokens.tolist())))
            for i in np.flatnonzero(found.texts == number):
                tokens = located.covering(found.starts[i], found.stops[i]).tolist()
                tokens = {Pool.MEAN: tokens, Pool.FIRST: tokens[:1], Pool.LAST: tokens[-1:]}[pool]
                close(found.vectors[i], sum(states[t] for t in tokens) / len(tokens))
                close(found.static[i], table[located.tokens[tokens]].mean(axis=0))


def test_a_character_inside_a_word_is_found_by_its_place():
    inside = embed(model(ENCODER), tokenizer(), [TEXTS[2]], word="苹")
    assert inside.starts.tolist() == [0, TEXTS[2].rindex("苹")] and inside.words == ["苹", "苹"]
    located = locate(tokenizer(), TEXTS[2])
    tokens = located.covering(0, 1)
    assert len(tokens) > 1  # bytes
    close(inside.vectors[0], hidden(ENCODER, tuple(located.tokens.tolist()))[2][tokens].mean(axis=0))


def same(a: Vectors, b: Vectors) -> None:
    assert a.words == b.words and np.array_equal(a.starts, b.starts) and np.array_equal(a.static, b.static)
    close(a.vectors, b.vectors)


@pytest.mark.parametrize("config", [DECODER, BFLOAT16], ids=["decoder", "encoder in bfloat16"])
def test_a_vector_does_not_depend_on_its_company(config, monkeypatch):
    texts = [*TEXTS, "A long text, " * 20, TEXTS[0]]
    whole = embed(model(config), tokenizer(), texts, by=By.TOKEN)
    alone = [embed(model(config), tokenizer(), [text], by=By.TOKEN, batch_size=1) for text in texts]
    same(whole, E.joined(alone))
    assert np.array_equal(whole.texts, np.repeat(np.arange(len(texts)), [len(one) for one in alone]))
    monkeypatch.setattr(E, "CHUNK_TEXTS", 2)
    monkeypatch.setattr(inputs, "SHORTEST", 12)
    same(whole, embed(model(config), tokenizer(), texts, by=By.TOKEN, batch_size=3))
    monkeypatch.setattr(jax, "local_devices", lambda: jax.devices()[:1])
    same(whole, embed(model(config), tokenizer(), texts, by=By.TOKEN, batch_size=7))


@given(st.integers(0, 60), st.integers(1, 12))
def test_windows_show_each_token_as_much_as_can_be(count, room):
    for causal in (False, True):
        found = windows(count, room, causal)
        assert all(w.stop - w.start <= room and w.start <= w.first <= w.last <= w.stop for w in found)
        assert [t for w in found for t in range(w.first, w.last)] == list(range(count))
        assert found[0].start == 0 and found[-1].stop == count
        for w in found:
            for t in range(w.first, w.last):
                holding = [v for v in found if v.start <= t < v.stop]
                left, right = [t - v.start for v in holding], [v.stop - 1 - t for v in holding]
                shown = left if causal else [min(pair) for pair in zip(left, right)]
                assert shown[holding.index(w)] == max(shown)


def test_a_word_deep_in_a_long_text_is_read_with_what_surrounds_it():
    text = "one two three four " * 12 + "bank " + "five six seven " * 12
    for config in (ENCODER, DECODER):
        found = embed(model(config), tokenizer(), [text], word="bank", pool=Pool.FIRST)
        located = locate(tokenizer(), text)
        token = located.covering(found.starts[0], found.stops[0])[0]
        room = POSITIONS - (1 if config is DECODER else 2)
        window = next(
            w for w in windows(len(located.tokens), room, config is DECODER) if w.first <= token < w.last
        )
        states = hidden(config, tuple(located.tokens[window.start : window.stop].tolist()))[-1]
        close(found.vectors[0], states[token - window.start])
        assert token - window.start >= room // 4


def test_words_and_sentences_are_the_recipes():
    text = "One bank. Two banks; three"
    words = embed(model(ENCODER), tokenizer(), [text], by=By.WORD)
    assert words.words == ["One", "bank", ".", "Two", "banks", ";", "three"]
    sentences = embed(model(ENCODER), tokenizer(), [text], by=By.SENTENCE)
    assert sentences.words == ["One bank.", "Two banks; three"]
    recipe = Text(tokenizer=None, sentences=RegexSentences(pattern=";"))
    assert embed(model(ENCODER), tokenizer(), [text], by=By.SENTENCE, text=recipe).words[1] == "three"
    assert len(embed(model(ENCODER), tokenizer(), [text], word="bank")) == 2  # inside banks too
    whole = embed(model(ENCODER), tokenizer(), [text], word="bank", by=By.WORD)
    assert whole.starts.tolist() == [4]


def test_layers_are_written_as_people_count_them():
    for text, levels, mean in (
        ("12", (12,), False),
        ("last", (12,), False),
        ("last-1", (11,), False),
        ("0,6,last", (0, 6, 12), False),
        ("9..last", (9, 10, 11, 12), False),
        ("mean:last-3..last", (9, 10, 11, 12), True),
    ):
        assert Layers.parse(text, 12) == Layers(levels, mean)
    for text in ("", "x", "-1", "1,", "sum:1", "mean:", "1...2", "last3"):
        with pytest.raises(UserError, match="write 12, last"):
            Layers.parse(text, 12)
    for text in ("13", "last-13", "0..13"):
        with pytest.raises(UserError, match=f"no layer {text}: this MODEL has 12, numbered 1 to 12"):
            Layers.parse(text, 12)
    with pytest.raises(UserError, match="no layer 3: this MODEL has 2"):
        embed(model(ENCODER), tokenizer(), TEXTS, layers=Layers((3,)))


def test_what_is_not_there_is_said():
    with pytest.raises(UserError, match="'Bank' is in none of the texts"):
        embed(model(ENCODER), tokenizer(), TEXTS, word="Bank")
    with pytest.raises(UserError, match="the word to look for is empty"):
        embed(model(ENCODER), tokenizer(), TEXTS, word=" ")
    with pytest.raises(UserError, match="there is no text"):
        embed(model(ENCODER), tokenizer(), ["", " \n"])
    small = dataclasses.replace(ENCODER, max_positions=2)
    with pytest.raises(UserError, match="has 2 positions: no room"):
        embed(model(small), tokenizer(), TEXTS)


def test_a_vector_of_zeros_is_like_nothing_not_nan():
    assert cosines(np.array([[0.0, 0.0], [1.0, 0.0]])).tolist() == [[0, 0], [0, 1]]
