# SPDX-License-Identifier: Apache-2.0
"""fill-mask: the ids that training saw, and the probabilities of the model at each mask."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssl_jax.types import UserError
from ssl_jax.use.guess import fill_mask, show


@jax.jit
def logits(model, tokens):
    return model.heads["mlm"](model.encode(tokens, jnp.ones_like(tokens)), model.trunk.table)[0]


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("The dog sat on the mat and the cat sat.", (1, 3, 7)),
        ("a name is a reference to a value", (0,)),
    ],
)
def test_each_mask_has_the_models_probabilities(model_of, tokenizer, text, masked):
    """In place of whole words, several in one text; what only pads the vocabulary takes no share."""
    model, specials = model_of("bert"), tokenizer.specials
    words = text.split(" ")
    ids, where = [specials.cls], []
    for number, word in enumerate(words):
        if number in masked:
            where.append(len(ids))
            ids.append(specials.mask)
        else:
            ids += tokenizer.encode(word).tolist()
    ids.append(specials.sep)
    typed = " ".join("[MASK]" if n in masked else word for n, word in enumerate(words))
    found = fill_mask(model, tokenizer, typed, top=4)
    assert len(found) == len(masked)
    every = np.asarray(logits(model, jnp.array([ids], jnp.int32)), np.float64)[:, : tokenizer.vocab_size]
    for guesses, row in zip(found, every[where]):
        p = np.exp(row - np.logaddexp.reduce(row))
        p[list(tokenizer.undrawable)] = 0
        best = np.argsort(-p)[:4]
        assert [guess.token for guess in guesses] == best.tolist()
        np.testing.assert_allclose([guess.probability for guess in guesses], p[best], rtol=1e-4)
    assert show(found).count("%") == 4 * len(masked)


def test_what_can_not_be_filled_is_one_line(model_of, tokenizer):
    with pytest.raises(UserError, match="there is no"):
        fill_mask(model_of("bert"), tokenizer, "The mask.")
    with pytest.raises(UserError, match="40 positions"):
        fill_mask(model_of("bert"), tokenizer, "[MASK] " * 40)
    with pytest.raises(UserError, match="ssl-jax generate"):
        fill_mask(model_of("gpt2"), tokenizer, "[MASK]")
