# SPDX-License-Identifier: Apache-2.0
"""From a plan's row to positions, and what a tokenizer must have for it (host, numpy).  T positions."""

from collections.abc import Iterable, Sequence

import jax
import numpy as np
from jaxtyping import Bool, Int32

from ssl_jax.types import Example, Meta, Part, UserError

MIN_LENGTH = 8  # below it specials leave no room for text


def require(objective: str, meta: Meta, plan: object, specials: tuple[str, ...], plan_hint: str) -> None:
    """Raises UserError unless the tokenizer has these special tokens and the plan's rows have room."""
    missing = [name for name in specials if getattr(meta.tokenizer.specials, name) is None]
    if missing:
        raise UserError(
            f"{objective} needs the special tokens {', '.join(specials)}, and the tokenizer has no "
            f"{' and no '.join(missing)}: train one (text.tokenizer=SentencePiece() or WordPiece()) "
            "or load one that has them"
        )
    if plan is None:
        raise UserError(f"{objective} has no plan: give it one, as in {objective}(plan={plan_hint})")
    if plan.length < MIN_LENGTH:
        raise UserError(
            f"{objective}'s rows have {plan.length} positions: give the plan a length of {MIN_LENGTH} or more"
        )


def lay_out(
    length: int, pad: int, pieces: Iterable[int | Part]
) -> tuple[Int32[np.ndarray, " T"], Bool[np.ndarray, " T"], int]:
    """Special tokens (ints) and runs of text (parts) one after another, padded to T = `length`.

    Returns tokens, word starts and the number of positions used.  A special token is a word of its own, and
    so is each padded position; a run's first token begins a word even where the slice cut one in two.
    """
    tokens = np.full(length, pad, np.int32)
    word_starts = np.ones(length, bool)
    at = 0
    for piece in pieces:
        if isinstance(piece, Part):
            end = at + len(piece.tokens)
            tokens[at:end] = piece.tokens
            word_starts[at + 1 : end] = piece.word_starts[1:]
            at = end
        else:
            tokens[at] = piece
            at += 1
    return tokens, word_starts, at


def lay_out_texts(length: int, pad: int, opening: int, closing: int, texts: Sequence[Part]) -> Example:
    """One text or a pair as BERT reads them, `[CLS] A [SEP]` or `[CLS] A [SEP] B [SEP]`: tokens, types (0 up
    to the first closing token, then 1) and segments (1, padding 0), [T] int32 each."""
    pieces = [opening, *(piece for text in texts for piece in (text, closing))]
    tokens, _, used = lay_out(length, pad, pieces)
    position = np.arange(length)
    real = position < used
    return {
        "tokens": tokens,
        "types": (real & (position >= len(texts[0].tokens) + 2)).astype(np.int32),
        "segments": real.astype(np.int32),
    }


def texts_spec(length: int) -> dict[str, jax.ShapeDtypeStruct]:
    """What lay_out_texts returns."""
    row = jax.ShapeDtypeStruct((length,), np.int32)
    return {"tokens": row, "types": row, "segments": row}
