# SPDX-License-Identifier: Apache-2.0
"""Vectors of tokens at every layer against the hidden states of `transformers`, on random weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssl_jax import nn
from ssl_jax.text import Text
from ssl_jax.types import Specials
from ssl_jax.use.embed import By, Layers, embed
from tests.models.tiny import LENGTHS, VOCAB, distance, documents, made
from tests.parity.peers import peer

pytestmark = pytest.mark.parity


class Numbers:
    """A text is its ids, as in "12 7 55"."""

    vocab_size = VOCAB
    piece_flags = np.zeros(VOCAB, np.uint8)

    def __init__(self, name: str):
        self.specials = Specials(pad=0, bos=5) if name in ("gpt2", "qwen3") else Specials(pad=0, cls=2, sep=3)
        self.around = ([5], []) if name in ("gpt2", "qwen3") else ([2], [3])

    def encode(self, text: str) -> np.ndarray:
        return np.array(text.split(), np.int32)

    def encode_offsets(self, texts, continues):
        return [np.cumsum([0, *(len(word) + 1 for word in text.split()[:-1])]) for text in texts]

    def pieces(self, ids) -> list[str]:
        return list(map(str, ids))


@pytest.mark.parametrize("name", ["bert", "bert_mlm", "gpt2"])
def test_every_layer_equals_theirs(name):
    import torch

    tokenizer = Numbers(name)
    graphdef, params = made(name)
    model = nn.merge(graphdef, jax.tree.map(jnp.asarray, params))
    theirs = peer(name).eval()
    texts = [" ".join(map(str, document)) for document in documents()]
    before, after = tokenizer.around
    hidden = []
    for document in documents():
        row = torch.tensor([[*before, *document.tolist(), *after]])
        with torch.no_grad():
            states = theirs(input_ids=row, output_hidden_states=True).hidden_states
        hidden.append([level[0, len(before) : len(before) + len(document)].numpy() for level in states])
    assert len(hidden[0]) == 3  # the input and two layers
    for level in range(3):
        ours = embed(model, tokenizer, texts, by=By.TOKEN, text=Text(tokenizer=None), layers=Layers((level,)))
        assert len(ours) == sum(LENGTHS)
        assert distance(ours.vectors, np.concatenate([levels[level] for levels in hidden])) <= 1e-5
    mean = embed(model, tokenizer, texts, by=By.TOKEN, layers=Layers((0, 1, 2), mean=True))
    assert distance(mean.vectors, np.concatenate([np.mean(levels, axis=0) for levels in hidden])) <= 1e-5
    table = theirs.get_input_embeddings().weight.detach().numpy()
    assert np.array_equal(mean.static, table[np.concatenate(documents())])
