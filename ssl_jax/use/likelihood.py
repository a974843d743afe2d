# SPDX-License-Identifier: Apache-2.0
"""How likely a causal model finds given tokens: what every measure of a language model is made of.

B rows of T positions, both rounded up; V vocabulary, P padded; D width.
"""

import functools
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax import nn
from ssl_jax.types import Tokenizer, UserError
from ssl_jax.use.generate import check
from ssl_jax.use.inputs import batched, bucket, power_of_two

BATCH_TOKENS = 8192  # of one batch
GROUP = 128  # requests that are sorted by length together
CHUNK = 64  # positions whose logits are held at once


class Request(NamedTuple):
    """Tokens [n] of which those from start on (1 or more) are asked for, each given all before it."""

    ids: np.ndarray
    start: int


class Scored(NamedTuple):
    """For each token asked for its log p, float32, and whether it is the likeliest of all."""

    log_p: np.ndarray
    likeliest: np.ndarray


class Reader:
    """Scores requests in batches; compiled once for a size of batch."""

    def __init__(self, model: nn.Model, tokenizer: Tokenizer):
        """Raises UserError where the model doesn't predict the next token."""
        check(model)
        self._graphdef, self._params = nn.split(model)
        self._tokenizer = tokenizer
        self.positions = model.trunk.spec.max_positions

    @property
    def opening(self) -> int:
        """What stands before a text: the token that opens a document, or else the one that closes it."""
        specials = self._tokenizer.specials
        opening = specials.eos if specials.bos is None else specials.bos
        if opening is None:
            raise UserError("this MODEL's tokenizer has no token that opens a text, so none can be scored")
        return opening

    def __call__(self, requests: Iterable[Request]) -> Iterator[Scored]:
        """In their order.  A request may have one token more than the model has positions."""
        for group in batched(requests, GROUP):
            done: dict[int, Scored] = {}
            sizes = [bucket(len(request.ids) - 1, self.positions) for request in group]
            for length in sorted(set(sizes)):
                same = [i for i, size in enumerate(sizes) if size == length]
                for some in batched(same, max(1, BATCH_TOKENS // length)):
                    done |= zip(some, self._run([group[i] for i in some], length))
            yield from (done[i] for i in range(len(group)))

    def _run(self, requests: list[Request], length: int) -> list[Scored]:
        shape = power_of_two(len(requests)), length
        tokens = np.full(shape, self._tokenizer.specials.pad, np.int32)
        targets, segments = np.zeros(shape, np.int32), np.zeros(shape, np.int32)
        for i, (ids, _) in enumerate(requests):
            here = i, slice(len(ids) - 1)
            tokens[here], targets[here], segments[here] = ids[:-1], ids[1:], 1
        found = score(self._graphdef, self._tokenizer.vocab_size, self._params, tokens, targets, segments)
        log_p, likeliest = (np.asarray(x) for x in found)
        spans = [slice(start - 1, len(ids) - 1) for ids, start in requests]
        return [Scored(log_p[i, span], likeliest[i, span]) for i, span in enumerate(spans)]


@functools.partial(jax.jit, static_argnums=(0, 1))
def score(
    graphdef: Any, vocab_size: int, params: nn.Params, tokens: Any, targets: Any, segments: Any
) -> tuple[Any, Any]:
    """log p of each target, and whether it is the likeliest, all [B, T].  The logits of CHUNK positions are
    held at a time."""
    model = nn.merge(graphdef, params)
    states = model.encode(tokens, segments)
    count = targets.size
    spare = -count % CHUNK
    flat = jnp.pad(states.reshape(count, -1), ((0, spare), (0, 0))).reshape(-1, CHUNK, states.shape[-1])
    wanted = jnp.pad(targets.reshape(count), (0, spare)).reshape(-1, CHUNK)

    def chunk(states_targets: tuple[Any, Any]) -> tuple[Any, Any]:
        states, targets = states_targets
        logits = model.heads["lm"](states, model.trunk.table)
        best = jnp.argmax(logits[:, :vocab_size], axis=-1)
        return -nn.cross_entropy(logits, targets, vocab_size), best == targets

    return tuple(x.reshape(-1)[:count].reshape(targets.shape) for x in jax.lax.map(chunk, (flat, wanted)))
