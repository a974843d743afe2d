# SPDX-License-Identifier: Apache-2.0
"""generate: against the same model without a cache, and what it promises of seeds, batches and ends."""

import jax
import numpy as np
import pytest

from ssl_jax import nn
from ssl_jax.types import UserError
from ssl_jax.use import generate as G
from ssl_jax.use.sampling import Sampling

PROMPTS = ["The dog", "Once upon a time there was a list", "床前明月", "a"]
DRAW = Sampling(temperature=1.0)


def run(model, tokenizer, prompts=PROMPTS, **options):
    return list(G.generate(model, tokenizer, prompts, **options))


@jax.jit
def next_logits(model, tokens, segments, last):
    states = model.encode(tokens, segments)
    return model.heads["lm"](states, model.trunk.table)[0, last]


def without_cache(model, tokenizer, prompt, count):
    """[(token, log p)] of the likeliest tokens, the whole text read anew for each."""
    ids = [tokenizer.specials.bos, *tokenizer.encode(prompt).tolist()]
    found = []
    for _ in range(count):
        tokens = np.zeros((1, model.trunk.spec.max_positions), np.int32)
        tokens[0, : len(ids)] = ids
        segments = (np.arange(tokens.shape[1]) < len(ids)).astype(np.int32)[None]
        logits = np.asarray(next_logits(model, tokens, segments, len(ids) - 1))[: tokenizer.vocab_size]
        best = int(logits.argmax())
        if best == tokenizer.specials.eos:
            break
        found.append((best, float(logits[best] - np.logaddexp.reduce(logits.astype(np.float64)))))
        ids.append(best)
    return found


@pytest.mark.parametrize("name", ["gpt2", "qwen3"])
def test_with_cache_equals_without(model_of, tokenizer, name):
    """Token for token and within 1e-5 of the probabilities, prompts of several lengths in one batch."""
    model = model_of(name)
    for prompt, result in zip(PROMPTS, run(model, tokenizer, max_tokens=20), strict=True):
        expected = without_cache(model, tokenizer, prompt, 20)
        assert result.tokens == [token for token, _ in expected]
        assert [guesses[0].token for guesses in result.likeliest] == result.tokens
        got = [np.log(guesses[0].probability) for guesses in result.likeliest]
        np.testing.assert_allclose(got, [log_p for _, log_p in expected], atol=1e-5)


def test_one_program_a_bucket(model_of, tokenizer):
    """Other prompts, lengths and ways to draw within a bucket compile nothing; each bucket one of both."""
    model = model_of("gpt2", max_positions=200)
    read, read_on = G.read._cache_size(), G.read_on._cache_size()
    run(model, tokenizer, ["The dog"], max_tokens=5)
    run(model, tokenizer, ["The cat sat on"], max_tokens=30, sampling=DRAW, seed=3)
    run(model, tokenizer, ["the mat and the cat"], max_tokens=9, sampling=Sampling(temperature=0.3, top_k=4))
    assert (G.read._cache_size() - read, G.read_on._cache_size() - read_on) == (1, 1)
    run(model, tokenizer, ["a"], max_tokens=100)
    assert (G.read._cache_size() - read, G.read_on._cache_size() - read_on) == (2, 2)


def test_what_is_drawn_depends_on_seed_and_prompt_alone(model_of, tokenizer):
    model = model_of("gpt2")
    options = dict(max_tokens=12, sampling=DRAW)
    whole = run(model, tokenizer, [*PROMPTS, PROMPTS[0]], seed=1, batch_size=4, **options)
    alone = [run(model, tokenizer, [prompt], seed=1, **options)[0] for prompt in PROMPTS]
    assert [r.tokens for r in whole[:-1]] == [r.tokens for r in alone]
    assert whole[-1].tokens != whole[0].tokens  # the same prompt again is another draw
    other = run(model, tokenizer, PROMPTS, seed=2, **options)
    assert all(a.tokens != b.tokens for a, b in zip(alone, other))


def test_greedy_text_is_what_it_streamed_and_what_the_tokens_say(model_of, tokenizer):
    said = []
    (result,) = run(
        model_of("gpt2"), tokenizer, ["床前"], max_tokens=30, watch=lambda r, text: said.append((r, text))
    )
    assert "".join(text for _, text in said) == result.text and all(r is result for r, _ in said)
    assert len(said) == len(result.tokens) == len(result.likeliest)
    before = tokenizer.encode("床前").tolist()
    assert tokenizer.decode(before) + result.text == tokenizer.decode(before + result.tokens)


def test_stops_at_the_end_token(model_of, tokenizer):
    """In a model that finds it likeliest after everything."""
    graphdef, params = nn.split(model_of("gpt2"))
    params = jax.tree.map(np.zeros_like, params)
    params["trunk"]["stack"]["final_norm"]["bias"] += 1  # all hidden states are ones
    params["trunk"]["embeddings"]["tokens"][tokenizer.specials.eos] = 1
    (result,) = run(nn.merge(graphdef, params), tokenizer, ["The dog"], max_tokens=12)
    assert (result.text, result.tokens, result.stop) == ("", [], G.Stop.END)


def test_stops_at_the_last_position_and_says_so(model_of, tokenizer):
    model = model_of("gpt2")
    limit = model.trunk.spec.max_positions
    prompts = ["The dog " * 10, "The dog", "a"]  # as many rows, rounded up, as elsewhere
    long, short, _ = run(model, tokenizer, prompts, max_tokens=32, sampling=DRAW)
    used = 1 + len(tokenizer.encode("The dog " * 10))
    assert long.stop is G.Stop.POSITIONS and used + len(long.tokens) == limit
    assert short.stop is G.Stop.TOKENS and len(short.tokens) == 32


def test_what_can_not_be_generated_is_one_line(model_of, tokenizer):
    model = model_of("gpt2")
    with pytest.raises(UserError, match="40 positions"):
        run(model, tokenizer, ["The dog " * 40])
    with pytest.raises(UserError, match="empty"):
        run(model, tokenizer, [" "])
    with pytest.raises(UserError, match="ssl-jax fill-mask"):
        run(model_of("bert"), tokenizer)
    with pytest.raises(UserError, match="temperature"):
        run(model, tokenizer, sampling=Sampling(top_k=3))
    with pytest.raises(UserError, match=r"top-p \(1.5\)"):
        run(model, tokenizer, sampling=Sampling(temperature=1.0, top_p=1.5))
