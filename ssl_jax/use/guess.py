# SPDX-License-Identifier: Apache-2.0
"""The likeliest tokens: at a mask (an encoder), or after a text (a decoder).

T positions, K masks, P padded vocabulary.
"""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax import nn
from ssl_jax.objectives.reading import token_text
from ssl_jax.types import Meta, Tokenizer, UserError
from ssl_jax.use.inputs import bucket, power_of_two


class Guess(NamedTuple):
    token: int
    text: str
    probability: float


def fill_mask(model: nn.Model, tokenizer: Tokenizer, text: str, top: int = 5) -> list[list[Guess]]:
    """For each [MASK] in the text the `top` likeliest tokens.  Raises UserError where there is no mask."""
    if "mlm" not in model.heads:
        what = "it generates" if "lm" in model.heads else "it was not pretrained with masked tokens"
        command = 'ssl-jax generate MODEL "A text"' if "lm" in model.heads else "try ssl-jax predict"
        raise UserError(f"this MODEL has no head that fills masks; {what}: {command}")
    specials = tokenizer.specials
    inner = tokenizer.encode_with_masks(text)
    ids = np.concatenate([[specials.cls], inner, [specials.sep]]).astype(np.int32)
    where = np.flatnonzero(ids == specials.mask)
    if len(where) == 0:
        raise UserError(f"there is no [MASK] in {text!r}")
    return guesses(model, tokenizer, ids, where, top)


def guesses(
    model: nn.Model, tokenizer: Tokenizer, ids: np.ndarray, where: np.ndarray, top: int
) -> list[list[Guess]]:
    """For each position in where the likeliest tokens; ids [n] holds the special tokens already."""
    limit = model.trunk.spec.max_positions
    if len(ids) > limit:
        raise UserError(
            f"the text is {len(ids)} tokens, the model has {limit} positions; give it a shorter one"
        )
    room = bucket(len(ids), limit)
    tokens = np.full((1, room), tokenizer.specials.pad, np.int32)
    tokens[0, : len(ids)] = ids
    segments = (np.arange(room) < len(ids)).astype(np.int32)[None]
    places = np.pad(where, (0, power_of_two(len(where)) - len(where)))[None]
    log_p = np.array(log_probabilities(model, tokens, segments, places, tokenizer.vocab_size))[0]
    lists = []
    for row in log_p[: len(where)]:
        row[list(tokenizer.undrawable)] = -np.inf
        best = np.argsort(-row, kind="stable")[:top].tolist()
        lists.append([Guess(i, readable(tokenizer, i), float(np.exp(row[i]))) for i in best])
    return lists


def readable(tokenizer: Tokenizer, token: int) -> str:
    return token_text(Meta(tokenizer=tokenizer), token)


@functools.partial(jax.jit, static_argnums=4)
def log_probabilities(model: Any, tokens: Any, segments: Any, where: Any, vocab_size: int) -> Any:
    """log softmax over the true vocabulary at K positions.  [1, T], [1, T], [1, K] -> [1, K, V] float32."""
    states = nn.at_positions(model.encode(tokens, segments), where)
    head = model.heads["mlm"] if "mlm" in model.heads else model.heads["lm"]
    logits = head(states, model.trunk.table)[..., :vocab_size]
    return jax.nn.log_softmax(logits.astype(jnp.float32))


def show(lists: Sequence[Sequence[Guess]]) -> str:
    """One line a mask."""
    return "\n".join("  ".join(f"{g.text} {g.probability:.0%}" for g in guesses) for guesses in lists)
