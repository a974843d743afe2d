# SPDX-License-Identifier: Apache-2.0
"""Greedy text of `transformers` from the same weights, and the tokens that its samplers keep."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from ssl_jax import nn
from ssl_jax.types import Specials
from ssl_jax.use.generate import Stop, generate
from ssl_jax.use.sampling import Sampling, choose
from tests.models.tiny import FAMILIES, VOCAB, drawn
from tests.objectives.fakes import FakeTokenizer
from tests.parity.names import NAMES
from tests.parity.peers import BUILDERS, load

pytestmark = pytest.mark.parity
COUNT = 200
PROMPTS = [" ".join(map(str, np.random.RandomState(n).randint(1, VOCAB, n))) for n in (3, 40, 1)]


class Numbers(FakeTokenizer):
    """A text is its ids; no token begins or ends one."""

    def __init__(self):
        super().__init__(VOCAB, specials=Specials(pad=0))

    def encode(self, text: str) -> np.ndarray:
        return np.array(text.split(), np.int32)


@pytest.mark.parametrize("name", ["gpt2", "qwen3"])
def test_greedy_equals_greedy(name):
    """200 tokens after prompts of several lengths in one batch, far beyond Qwen3's local windows."""
    import torch

    family = FAMILIES[name]
    family = dataclasses.replace(family, config=dataclasses.replace(family.config, max_positions=256))
    static = {}

    def abstract():
        static["graphdef"], params = nn.split(family.build(nnx.Rngs(0)))
        return params

    params = drawn(jax.eval_shape(abstract))
    model = nn.merge(static["graphdef"], jax.tree.map(jnp.asarray, params))
    theirs = load(BUILDERS[name](family.config), NAMES[name](params, VOCAB)).eval()
    for prompt, ours in zip(PROMPTS, generate(model, Numbers(), PROMPTS, max_tokens=COUNT), strict=True):
        ids = torch.tensor([[int(i) for i in prompt.split()]])
        with torch.no_grad():
            out = theirs.generate(
                ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=COUNT
            )
        assert out[0, ids.shape[1] :].tolist() == ours.tokens
        assert len(ours.tokens) == COUNT and ours.stop is Stop.TOKENS
        assert len(set(ours.tokens)) > 5, "a loop of few tokens would show little"


@pytest.mark.parametrize("top_k", [0, 5])
@pytest.mark.parametrize("top_p", [1.0, 0.6])
@pytest.mark.parametrize("min_p", [0.0, 0.1])
def test_the_same_tokens_may_be_drawn(top_k, top_p, min_p):
    import torch
    from transformers.generation import logits_process as theirs

    logits = np.random.default_rng(0).normal(0, 2, 30).astype(np.float32)
    scores = theirs.TemperatureLogitsWarper(1.7)(None, torch.tensor(logits[None]))
    if top_k:
        scores = theirs.TopKLogitsWarper(top_k)(None, scores)
    if top_p < 1:
        scores = theirs.TopPLogitsWarper(top_p)(None, scores)
    if min_p:
        scores = theirs.MinPLogitsWarper(min_p)(None, scores)
    keys = jax.random.split(jax.random.key(0), 20_000)
    sampling = Sampling(temperature=1.7, top_k=top_k, top_p=top_p, min_p=min_p)
    ours = np.asarray(jax.jit(choose)(jnp.tile(logits, (len(keys), 1)), keys, sampling))
    p = torch.softmax(scores[0], -1).numpy()
    share = np.bincount(ours, minlength=len(p)) / len(keys)
    assert (share[p == 0] == 0).all() and (share[p > 2e-3] > 0).all()
    np.testing.assert_allclose(share, p, atol=0.015)
