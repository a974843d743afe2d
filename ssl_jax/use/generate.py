# SPDX-License-Identifier: Apache-2.0
"""Text that goes on from a prompt, by a causal model with a cache of its keys and values.

B rows, T tokens of the longest prompt, S slots of the cache; all three rounded up, so that few programs are
compiled.
"""

import enum
import functools
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax import nn
from ssl_jax.types import Tokenizer, UserError
from ssl_jax.use.guess import Guess, readable
from ssl_jax.use.inputs import batched, bucket, power_of_two
from ssl_jax.use.sampling import Sampling, choose
from ssl_jax.use.stream import TextStream

SHOWN = 5


class Stop(enum.StrEnum):
    """Why a text ended: the model ended it, it has as many tokens as were asked for, or the model has no
    position for another one."""

    END = "end"
    TOKENS = "tokens"
    POSITIONS = "positions"


@dataclass
class Generated:
    """What followed a prompt.

    text, tokens: without the token that ends a text.  likeliest: for each of the tokens the five that the
    model thought likeliest in its place, whatever was drawn.  stop is None while the text still grows.
    """

    prompt: str
    text: str = ""
    tokens: list[int] = field(default_factory=list)
    likeliest: list[list[Guess]] = field(default_factory=list)
    stop: Stop | None = None


GREEDY = Sampling()
Watch = Callable[[Generated, str], None]  # called for each new token with the text that it adds, maybe ""


def generate(
    model: nn.Model,
    tokenizer: Tokenizer,
    prompts: Iterable[str],
    *,
    max_tokens: int = 100,
    sampling: Sampling = GREEDY,
    seed: int = 0,
    batch_size: int = 8,
    watch: Watch = lambda generated, text: None,
) -> Iterator[Generated]:
    """For each prompt, in order, what follows it; batch_size prompts are read at a time.

    A prompt is read as training reads the beginning of a document.  What is drawn depends on the seed, the
    prompt and how often the same prompt came before, never on the prompts beside it.  Raises UserError where
    the model doesn't generate, and where a prompt is empty or leaves no position for a token.
    """
    check(model)
    sampling.checked()
    seen: Counter[int] = Counter()
    for batch in batched(prompts, batch_size):
        first = sum(seen.values()) + 1
        rows = [opened(model, tokenizer, prompt, n) for n, prompt in enumerate(batch, first)]
        keys = []
        for ids in rows:
            same = zlib.crc32(ids.tobytes())
            keys.append(key_of(seed, same, seen[same]))
            seen[same] += 1
        results = [Generated(prompt) for prompt in batch]
        _grow(model, tokenizer, results, rows, keys, max_tokens, sampling, watch)
        yield from results


def check(model: nn.Model) -> None:
    """Raises UserError, with the command that fits, for a model that doesn't generate."""
    if "lm" in model.heads and model.trunk.spec.causal:
        return
    if "mlm" in model.heads:
        raise UserError('this MODEL fills masks and writes no text: ssl-jax fill-mask MODEL "A [MASK]."')
    raise UserError('this MODEL has no head for the next token; try: ssl-jax predict MODEL "A text."')


def opened(model: nn.Model, tokenizer: Tokenizer, prompt: str, number: int) -> np.ndarray:
    """The ids [n] int32 of a document that begins with the prompt.  Raises UserError as generate does."""
    ids, opening = tokenizer.encode(prompt), tokenizer.specials.bos
    if len(ids) == 0:
        raise UserError(f"prompt {number} is empty: give a text for the model to go on from")
    ids = np.concatenate([[] if opening is None else [opening], ids]).astype(np.int32)
    limit = model.trunk.spec.max_positions
    if len(ids) >= limit:
        raise UserError(
            f"prompt {number} ({prompt[:30]!r}...) is {len(ids)} tokens, the model has {limit} positions: "
            "shorten it, so that one is left for what follows"
        )
    return ids


def key_of(seed: int, prompt: int, times: int) -> Any:
    """times: how often the prompt came before."""
    key = jax.random.fold_in(jax.random.key(seed), np.uint32(prompt))
    return jax.random.fold_in(key, times)


def _grow(
    model: nn.Model,
    tokenizer: Tokenizer,
    results: list[Generated],
    rows: list[np.ndarray],
    keys: list[Any],
    max_tokens: int,
    sampling: Sampling,
    watch: Watch,
) -> None:
    """Fills the results in; rows [n] each and keys are theirs."""
    limit, longest = model.trunk.spec.max_positions, max(map(len, rows))
    count = power_of_two(len(rows))
    tokens = np.full((count, bucket(longest, limit)), tokenizer.specials.pad, np.int32)
    lengths = np.ones(count, np.int32)
    for i, ids in enumerate(rows):
        tokens[i, : len(ids)], lengths[i] = ids, len(ids)
    slots = bucket(longest + max_tokens, limit)
    keys = jnp.stack([*keys, *keys[:1] * (count - len(keys))])
    growing = [
        _Growing(result, TextStream(tokenizer, ids), min(max_tokens, limit - len(ids)), max_tokens)
        for result, ids in zip(results, rows)
    ]
    graphdef, params = nn.split(model)
    cache, choice = read(graphdef, tokenizer.vocab_size, slots, params, tokens, lengths, keys, sampling)
    positions = lengths
    while True:
        likeliest = guessed(tokenizer, choice)
        for one, token, guesses in zip(growing, np.asarray(choice.tokens).tolist(), likeliest):
            if one.result.stop is None:
                watch(one.result, one.push(tokenizer, token, guesses))
        if all(result.stop is not None for result in results):
            return
        cache, choice = read_on(
            graphdef, tokenizer.vocab_size, params, cache, choice.tokens, positions, keys, sampling
        )
        positions = np.minimum(positions + 1, slots - 1)  # rows that have ended stay within the cache


@dataclass
class _Growing:
    """A result under way.  room: the tokens that positions and max_tokens allow."""

    result: Generated
    stream: TextStream
    room: int
    max_tokens: int

    def push(self, tokenizer: Tokenizer, token: int, guesses: list[Guess]) -> str:
        """Takes one token in; returns the text that it adds."""
        result, text = self.result, ""
        if token in (tokenizer.specials.bos, tokenizer.specials.eos):
            result.stop = Stop.END
        else:
            result.tokens.append(token)
            result.likeliest.append(guesses)
            text = self.stream.push(token)
            if len(result.tokens) == self.room:
                result.stop = Stop.TOKENS if self.room == self.max_tokens else Stop.POSITIONS
        if result.stop is not None:
            text += self.stream.rest()
        result.text += text
        return text


# ------------------------------------------------------------------------------------------ on the device


class Choice(NamedTuple):
    """The next token of each row, [B], and the five likeliest with their log p, [B, 5] float32."""

    tokens: Any
    likeliest: Any
    log_p: Any


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def read(
    graphdef: Any,
    vocab_size: int,
    slots: int,
    params: nn.Params,
    tokens: Any,
    lengths: Any,
    keys: Any,
    sampling: Sampling,
) -> tuple[nn.Cache, Choice]:
    """Prompts [B, T] of so many tokens, padded on the right: their keys and values, and each one's next."""
    model = nn.merge(graphdef, params)
    positions = jnp.broadcast_to(jnp.arange(tokens.shape[1], dtype=jnp.int32), tokens.shape)
    states, new = model.trunk.after(tokens, positions, model.trunk.empty_cache(len(tokens), 0))
    cache = model.trunk.empty_cache(len(tokens), slots).write(new, positions)
    last = nn.at_positions(states, lengths[:, None] - 1)[:, 0]
    return cache, _choice(model, vocab_size, last, lengths, keys, sampling)


@functools.partial(jax.jit, static_argnums=(0, 1), donate_argnums=3)
def read_on(
    graphdef: Any,
    vocab_size: int,
    params: nn.Params,
    cache: nn.Cache,
    tokens: Any,
    positions: Any,
    keys: Any,
    sampling: Sampling,
) -> tuple[nn.Cache, Choice]:
    """One token more a row, [B] at positions [B]; the cache is changed in place."""
    model, where = nn.merge(graphdef, params), positions[:, None]
    states, new = model.trunk.after(tokens[:, None], where, cache)
    choice = _choice(model, vocab_size, states[:, 0], positions + 1, keys, sampling)
    return cache.write(new, where), choice


def _choice(
    model: Any, vocab_size: int, states: Any, positions: Any, keys: Any, sampling: Sampling
) -> Choice:
    """The token after states [B, D]; positions [B]: where it goes."""
    logits = model.heads["lm"](states, model.trunk.table)[:, :vocab_size].astype(jnp.float32)
    tokens = choose(logits, jax.vmap(jax.random.fold_in)(keys, positions), sampling)
    log_p, likeliest = jax.lax.top_k(jax.nn.log_softmax(logits), min(SHOWN, vocab_size))
    return Choice(tokens, likeliest, log_p)


def guessed(tokenizer: Tokenizer, choice: Choice) -> list[list[Guess]]:
    p, likeliest = np.exp(np.asarray(choice.log_p)).tolist(), np.asarray(choice.likeliest).tolist()
    return [[Guess(i, readable(tokenizer, i), q) for i, q in zip(*row)] for row in zip(likeliest, p)]
