# SPDX-License-Identifier: Apache-2.0
"""The bounded sample of training-side documents that a tokenizer is trained on."""

from collections.abc import Iterator, Sequence

from ssl_jax.data.sources import Opened
from ssl_jax.data.split import keys_of

_MAX_FILES = 1024  # of one source, evenly spaced
_AHEAD = 8  # a file is read to at most this many times its share, and thinned by hash


def sample(sources: Sequence[Opened], limit: int, budget: int) -> Iterator[str]:
    """Documents for a tokenizer, about `budget` characters or the whole corpus where that is less.

    Each source has a part of the budget by its weight, each file by its size; within a file documents are
    thinned by their hash, so that the sample is spread and the same on every machine.  limit: keys below
    it are held out and never in the sample.
    """
    weights = sum(s.weight for s in sources)
    for source in sources:
        part = budget * source.weight / weights
        step = max(1, -(-len(source.inputs) // _MAX_FILES))
        inputs = source.inputs[::step]
        total = sum(i.size for i in inputs) or 1.0
        for item in inputs:
            yield from _of_input(item, limit, part * item.size / total)


def _of_input(item, limit: int, share: float) -> Iterator[str]:
    """About `share` characters of one input's training side."""
    rate = share / max(1.0, min(item.size, _AHEAD * share))
    seen = kept = 0
    for text in item.records():
        if not isinstance(text, str):
            continue
        if rate < 1 and (seen > _AHEAD * share or kept > share):
            return
        key = int(keys_of([text])[0])
        if key < limit:
            continue
        # The low half of the key: the high half decided the side.
        if kept == 0 or (key & 0xFFFFFFFF) < rate * 2**32:
            yield text
            kept += len(text)
        seen += len(text)
